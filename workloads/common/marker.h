/* marker.h: the instruction that programs execute once with each frame, and workloads/profile/plugin.c knows by its
 * bytes: nopl 0x554b5046(%rax,%rax,1), which does nothing anywhere. */
#ifndef UKPERF_MARKER_H
#define UKPERF_MARKER_H

#define UK_MARKER_BYTES {0x0f, 0x1f, 0x84, 0x00, 0x46, 0x50, 0x4b, 0x55}
#define UK_MARKER "nopl 0x554b5046(%%rax,%%rax,1)"

#endif
