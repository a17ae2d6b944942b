"""A second libvirtd on this machine's loopback, as a stand-in for a remote QEMU host."""
