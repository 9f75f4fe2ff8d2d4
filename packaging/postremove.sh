#!/bin/sh
# Runs after the package was removed. The keystore stays, and so does the user who owns it:
# remove both by hand (rm -r /var/lib/speechgate; userdel speechgate).
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
