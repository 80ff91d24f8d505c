#!/bin/sh
# Tells the cloud that an address belongs to this server when vipd has become
# master:
#
#     notify: /etc/vipd/scripts/cloud-move-address.sh
#
# vipd adds INSTANCE NAME STATE PRIORITY. /etc/vipd/cloud.conf, which only root
# may read, sets these:
#
#     API=https://api.example.com/v1
#     SERVER=web-a           # how the cloud calls this server
#     TOKEN=…
#
# Replace the two functions by what your provider has: hcloud floating-ip
# describe and assign, aws ec2 describe-addresses and associate-address.
set -eu

# shellcheck source=/dev/null
. /etc/vipd/cloud.conf

request() {
	curl --fail --silent --show-error --max-time 5 --header "Authorization: Bearer $TOKEN" "$@"
}

# assigned ADDRESS prints which server has it.
assigned() { request "$API/addresses/$1"; }

# assign ADDRESS makes it ours.
assign() { request --request PUT --data "$SERVER" "$API/addresses/$1" >/dev/null; }

# here ADDRESS: this host has it, as it does while it is master.
here() { test -n "$(ip -oneline address show to "$1")"; }

# move ADDRESS makes the address ours, whatever it takes.
move() {
	for pause in 1 2 4 0; do
		# Another router may have become master: do not take it away from that.
		if ! here "$1"; then
			echo "$1 is no longer on this host: left alone"
			return 0
		fi
		# Calling this twice does no harm.
		if owner=$(assigned "$1") && test "$owner" = "$SERVER"; then
			echo "$1 is assigned to $SERVER"
			return 0
		fi
		if assign "$1"; then
			echo "$1 is now assigned to $SERVER; it was to ${owner:-nobody known}"
			return 0
		fi
		sleep "$pause"
	done
	echo "giving up on $1" >&2
	return 1
}

if test "$3" != MASTER; then
	exit 0 # the new master tells the cloud
fi
status=0
for vip in $VIPD_VIPS; do
	move "${vip%/*}" || status=1
done
exit "$status"
