"""Libvirt connections, QEMU and Xen flavours, the truth check, the noise of the host; and fake.py, a host with no VM."""
