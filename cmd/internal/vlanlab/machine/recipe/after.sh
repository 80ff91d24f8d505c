#!/bin/sh
# Run by mmdebstrap when all packages are installed, with the root directory as
# its argument.
set -eu
root=$1
here=$(dirname "$0")

# What the image leaves out of its own packages, the package under test is to bring.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap

cp -r "$here/root/." "$root/"

# One network manager at a time: networkd, until a scenario asks for another. None
# of the daemons under test begins by itself, and nobody logs in.
chroot "$root" systemctl --quiet enable systemd-networkd.service
chroot "$root" systemctl --quiet disable \
	systemd-networkd-wait-online.service \
	NetworkManager.service NetworkManager-dispatcher.service NetworkManager-wait-online.service \
	networking.service keepalived.service nftables.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
	e2scrub_all.timer e2scrub_reap.service getty@tty1.service \
	remote-fs.target systemd-pstore.service

# What no scenario looks at, and what would take half of the time of a boot on an
# emulated processor.
chroot "$root" systemctl --quiet mask \
	serial-getty@ttyS0.service systemd-user-sessions.service \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service \
	systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
	systemd-network-generator.service \
	dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount \
	sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service \
	modprobe@fuse.service modprobe@loop.service
# It is started when somebody asks for a reboot.
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s /dev/null "$root/etc/systemd/system/multi-user.target.wants/systemd-logind.service"

# The host gives every machine its name and its identity on the command line of
# the kernel.
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/var/lib/dbus/machine-id"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
: >"$root/etc/fstab"

# A journal that is on the disk after a power cut.
mkdir -p "$root/var/log/journal"

# Nothing is to be brought up to date at the first boot.
touch "$root/etc/.updated" "$root/var/.updated"
