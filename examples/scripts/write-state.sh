#!/bin/sh
# Keeps the state of each instance and sync group in a file, for monitoring:
#
#     notify: /etc/vipd/scripts/write-state.sh DIRECTORY
#
# vipd adds INSTANCE NAME STATE PRIORITY, or GROUP NAME STATE 0. What is written
# to DIRECTORY/NAME.state is a line "STATE PRIORITY SECONDS REASON".
set -eu

directory=$1 name=$3 state=$4 priority=$5

# A file that is moved into place is never seen half written.
file=$directory/$name.state
printf '%s %s %s %s\n' "$state" "$priority" "$(date +%s)" "${VIPD_REASON-}" >"$file.new"
mv "$file.new" "$file"
