#!/bin/sh
# dom0 without systemd: just what libvirt's Xen driver needs. Every line of ours on the console begins with "xenhost:".
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C
fail() { echo "xenhost: FAILED $*"; sync; }

# Xen's block script opens /dev/fd and /dev/stdin; without them it waits 40 s for nothing.
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/lock /run/xen /run/xenstored /run/libvirt /var/log/xen/console /var/lib/xen /var/lib/xenstored /var/lib/libvirt
mount -t tmpfs tmpfs /var/lib/xenstored

ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0 || fail "no network card"
ip route add default via 10.0.2.2

# Each share of the host's appears at the host's own path, so that domain XML with host paths means the same here.
for share in $(sed -n 's/.*xenhost.shares=\([^ ]*\).*/\1/p' /proc/cmdline | tr ',' ' '); do
    tag=${share%%:*}
    path=${share#*:}
    mkdir -p "$path"
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none "$tag" "$path" || fail "no share $path"
done

mount -t xenfs xenfs /proc/xen || fail "no xenfs"
bin=$(echo /usr/lib/xen-*.*/bin)
$bin/xenstored --pid-file /run/xenstore.pid || fail "no xenstored"
$bin/xen-init-dom0 || fail "no xen-init-dom0"
$bin/xenconsoled --pid-file /run/xenconsoled.pid || fail "no xenconsoled"

# Whoever boots us may log in with this key, and learns ours from the console.
key=$(sed -n 's/.*xenhost.key=\([^ ]*\).*/\1/p' /proc/cmdline | tr ':' ' ')
if [ -n "$key" ]; then
    mkdir -p /run/sshd
    echo "$key" >/run/sshd.keys
    ssh-keygen -q -t ed25519 -N '' -f /run/sshd.host
    /usr/sbin/sshd -f /dev/null -h /run/sshd.host -o PidFile=none -o StrictModes=no -o AuthorizedKeysFile=/run/sshd.keys \
        -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no || fail "no sshd"
    echo "xenhost: KEY $(cut -d' ' -f1,2 /run/sshd.host.pub) ."
fi

echo "xenhost: daemons up after $(cut -d' ' -f1 /proc/uptime) s"
(
    # libvirtd binds its port when it can serve: that is the only sign of readiness that a client can see too.
    for _ in $(seq 600); do
        grep -q ':407D ' /proc/net/tcp && break
        sleep 0.1
    done
    echo "xenhost: READY after $(cut -d' ' -f1 /proc/uptime) s"
) &
while :; do
    libvirtd --listen --config /etc/libvirt/libvirtd.conf >/var/log/libvirtd.log 2>&1
    echo "xenhost: libvirtd ended with $?"
    sleep 1
done
