"""A real Xen host for the tests: Xen, a Debian dom0 and libvirtd in one emulated machine, of Debian's packages.

`build` makes the host's files, `run` boots them, the tests use the result by `xen+tcp://` on loopback. By hand:
`PYTHONPATH=tests python -m xenhost` boots the host, prints its URI and keeps it until ^C.
"""
