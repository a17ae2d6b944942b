"""Libvirt connections, QEMU and Xen flavours, the truth check, the noise of the host; fake.py has no VM."""
