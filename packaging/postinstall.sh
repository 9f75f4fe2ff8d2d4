#!/bin/sh
# Runs after the package was installed or upgraded, by dpkg ("configure") or rpm (a count).
set -e
systemd-sysusers speechgate.conf
install -d -m 0700 -o speechgate -g speechgate /var/lib/speechgate
# The service's user reads the variables too, for commands with --envfile. An administrator's own
# choice of owner stays.
if [ "$(stat -c %U:%G /etc/speechgate/environment)" = root:root ]; then
	chgrp speechgate /etc/speechgate/environment
	chmod 640 /etc/speechgate/environment
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# An upgrade goes on with the new program. Live streams end, as in any restart.
	systemctl try-restart speechgate.service
fi
if [ "$1" = configure ] && [ -z "${2:-}" ] || [ "$1" = 1 ]; then
	echo "Speechgate is installed, and not started. Start it: systemctl enable --now speechgate"
fi
