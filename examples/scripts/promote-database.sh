#!/bin/sh
# Makes the PostgreSQL of this host the primary, once, when the address has been
# here for some seconds:
#
#     notify_master: /etc/vipd/scripts/promote-database.sh SECONDS
#
# psql must reach it as a superuser, through the local socket: vipd runs this as
# user postgres if it is told to.
set -eu

seconds=$1

say() { echo "$VIPD_INSTANCE: $*"; }

# here: this host has all the virtual addresses.
here() {
	for vip in $VIPD_VIPS; do
		test -n "$(ip -oneline address show to "${vip%/*}")" || return 1
	done
}

ask() { psql --no-psqlrc --tuples-only --no-align --command "$1"; }

# vipd runs one of these at a time, but does not wait for ever (notify_timeout).
# What is locked is this file: nothing has to be written.
exec 9<"$0"
flock 9

# A master for a moment, as when the other host was only slow, promotes nothing.
while test "$seconds" -gt 0; do
	sleep 1
	seconds=$((seconds - 1))
	if ! here; then
		say "the address is gone again: not promoting"
		exit 0
	fi
done

replica=$(ask 'SELECT pg_is_in_recovery()')
if test "$replica" != t; then
	say "is the primary already"
	exit 0
fi
say "promoting, because: $VIPD_REASON"
promoted=$(ask 'SELECT pg_promote(wait_seconds => 20)')
test "$promoted" = t
