#!/bin/sh
# Run by mmdebstrap before the packages beyond the essential ones are installed,
# with the root directory as its argument.
set -eu
root=$1

# The kernel of Debian's cloud images has NVMe and ext4 built in, so machines boot
# without an initramfs, and making one would take as long as everything else.
chroot "$root" dpkg-divert --quiet --local --no-rename --add \
	--divert /usr/sbin/update-initramfs.debian /usr/sbin/update-initramfs
ln -s /bin/true "$root/usr/sbin/update-initramfs"
