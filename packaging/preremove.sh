#!/bin/sh
# Runs before the package is removed or upgraded. An upgrade stops nothing here.
set -e
if [ "$1" = remove ] || [ "$1" = 0 ]; then
	if [ -d /run/systemd/system ]; then
		systemctl disable --now speechgate.service
	fi
fi
