#!/bin/sh
# Succeeds while the web server of this host answers with a page:
#
#     script: /etc/vipd/scripts/check-nginx.sh http://127.0.0.1/
#
# It looks and does nothing else. A check that restarts the server hides why it
# failed, and takes as long as that: leave it to systemd (Restart=on-failure).
exec curl --fail --silent --show-error --max-time 1 --output /dev/null "$1"
