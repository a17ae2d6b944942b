/* xen.h: floor as a Xen PVH domain, which has no serial port, no ACPI power management and no firmware. */
#ifndef FLOOR_XEN_H
#define FLOOR_XEN_H

#include <stddef.h>

int xen_start(void);                                  /* 1: this is Xen, and its console is ready */
void xen_write(const char *bytes, size_t length);     /* to the domain's PV console */
void xen_power_off(void);                             /* when the console has been read; returns only if Xen refuses */

#endif
