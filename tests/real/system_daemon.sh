#!/bin/sh
# libvirt's daemon of the whole system, in mount and PID namespaces of its own, until standard input ends. This is the
# first process there, so it reaps QEMU, and everything ends with it.
set -eu
mount -t proc proc /proc
for folder in /run /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=755 tmpfs "$folder"
done
mkdir -p /run/lock
echo 'namespaces = []' >/etc/libvirt/qemu.conf # /dev below is not one that it could take apart
# No /dev/kvm: where libvirt's user may not open it, libvirt 9 asks QEMU anew what it can do before every domain.
mount -t tmpfs -o mode=755 tmpfs /mnt
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /mnt/
mkdir /mnt/pts /mnt/shm
ln -s pts/ptmx /mnt/ptmx
ln -s /proc/self/fd /mnt/fd
mount --move /mnt /dev
mount -t devpts -o ptmxmode=666,mode=620,gid=5 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
virtlogd --daemon
libvirtd --daemon
echo up
# Not `read`: only while it waits does a shell reap, and libvirt waits for QEMU's very pid to vanish.
exec 3<&0
cat <&3 >&2 &
wait $!
