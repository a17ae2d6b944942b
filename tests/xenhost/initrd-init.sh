#!/bin/sh
# First process of dom0: load what the disk needs, then hand over to it.
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do
    /bin/busybox insmod "/modules/$module" || echo "xenhost: no $module"
done < /modules/order
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda ] && break
    /bin/busybox sleep 0.2
done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root || echo "xenhost: FAILED no root disk"
/bin/busybox mount --move /dev /root/dev
/bin/busybox mount --move /proc /root/proc
/bin/busybox mount --move /sys /root/sys
exec /bin/busybox switch_root /root /sbin/xenhost-init
