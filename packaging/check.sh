#!/usr/bin/env bash
# usage: packaging/check.sh
#
# Builds the packages twice and compares them, and runs the commands of docs/production.md. It
# installs and removes packages, so it runs only as root on a machine that can be thrown away:
# Debian, with CI=true in the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "${CI:-}" = true ] || [ "${CI:-}" = 1 ] || { echo "check.sh changes this machine: set CI=true if it may" >&2; exit 1; }
work=$(mktemp -d)
log=/var/log/speechgate-check.log # of the services of the stand-in for systemctl
trap '[ $? -eq 0 ] || tail -n 30 "$log" 2>/dev/null || true; kill $(jobs -p) 2>/dev/null || true; rm -rf "$work" "$log"' EXIT

git diff --quiet HEAD || { echo "check.sh compares this tree with its last commit: commit the changes first" >&2; exit 1; }

echo "== the same commit gives the same bytes"
git clone --quiet . "$work/elsewhere"
packaging/build.sh "$work/dist"
"$work/elsewhere/packaging/build.sh" "$work/second"
diff "$work/dist/SHA256SUMS" "$work/second/SHA256SUMS"
rm -rf "$work/second" "$work/elsewhere"

echo "== the package for Red Hat's family has the same files"
diff <(rpm -qpl "$work"/dist/*.rpm | grep -v '/doc/' | sort) \
	<(dpkg-deb -c "$work"/dist/*.deb | awk '{print $6}' | sed 's/^\.//; s#/$##' | grep -E '^(/etc/speechgate|/usr/bin/caddy|/usr/(lib|share)/.*speechgate)' | grep -v '/doc/' | sort)

echo "== the service is hardened"
systemd-analyze security --offline=true --threshold=25 packaging/speechgate.service | tail -n 1

echo "== the files of the containers"
npm exec --yes dockerfile-utils@0.16.3 -- lint packaging/Dockerfile
docker-compose --file packaging/compose.yaml config --quiet
while IFS= read -r file; do
	[ -e "packaging/$file" ] || { echo "compose.yaml mounts $file, which does not exist" >&2; exit 1; }
done < <(sed -n 's/^ *- "\(\.[^:]*\):.*/\1/p' packaging/compose.yaml)
while IFS= read -r file; do
	[ -e "$file" ] || { echo "the Dockerfile copies $file, which does not exist" >&2; exit 1; }
done < <(sed -n 's/^COPY \([a-z].*\) [^ ]*$/\1/p' packaging/Dockerfile | tr ' ' '\n')
for file in packaging/*.caddyfile packaging/Caddyfile; do
	UPSTREAM_KEY=sandbox-backend-key "$work/dist/caddy" validate --adapter caddyfile --config "$file" >"$work/validate.log" 2>&1 || { cat "$work/validate.log" >&2; exit 1; }
	"$work/dist/caddy" fmt --diff "$file"
done

# page prints the commands of docs/production.md: the blocks whose first line begins with "$ ".
page() {
	awk '
		/^$/ { if (block == 1) print; next }
		!/^    / { block = 0; next }
		!block { block = /^    \$ / ? 1 : 2 }
		block == 1 { line = substr($0, 5); sub(/^\$ /, "", line); print line }
	' docs/production.md
}

echo "== the commands of docs/production.md"
# The stand-in for the speech API, which the page names by its address.
"$work/dist/caddy" run --adapter caddyfile --config - >/dev/null 2>&1 <<-'END' &
	{
		admin off
	}
	http://127.0.0.1:8081 {
		speechgate_sandbox amivoice {
			key sandbox-backend-key
		}
	}
END
mkdir "$work/bin"
if [ ! -d /run/systemd/system ]; then
	cp packaging/systemctl "$work/bin/systemctl"
	export PATH=$work/bin:$PATH
fi
page | sed "
	/^packaging\/build.sh/d
	s#^cd /tmp/speechgate #cd $work/dist #
	s#^SITE=.*#SITE=localhost#
	s#YOUR_KEY#sandbox-backend-key#
	s#https://acp-api[a-z-]*.amivoice.com#http://127.0.0.1:8081#
	s#\(journalctl\) -u#\1 --no-pager -u#
	s#curl #curl --insecure #
" >"$work/page.sh"
[ "$(wc -l <"$work/page.sh")" -gt 80 ] || { echo "the page has lost its commands" >&2; exit 1; }
bash -euo pipefail -x "$work/page.sh" 2>&1 | tee "$work/page.log"

echo "== the page did what it says"
grep -q '"text":"' "$work/page.log" || { echo "the good key was not let through" >&2; exit 1; }
grep -q 'received illegal service authorization' "$work/page.log" || { echo "the wrong key was not refused" >&2; exit 1; }
grep -q '^caddy_speechgate_store_up{.*=> 1 ' "$work/page.log" || { echo "Prometheus has no metrics" >&2; exit 1; }
[ -s /var/lib/speechgate/keystore.db ] || { echo "removing the package has removed the keystore" >&2; exit 1; }
[ ! -e /usr/bin/caddy ] || { echo "removing the package has left the program" >&2; exit 1; }
[ -e /etc/speechgate/Caddyfile ] || { echo "removing the package has removed the configuration" >&2; exit 1; }
if [ "$(command -v systemctl)" = "$work/bin/systemctl" ]; then
	kill "$(cat /run/speechgate.service.pid)" # which systemd does when the package is removed
	while pgrep -u speechgate >/dev/null; do sleep 0.1; done
	kill "$(cat /run/prometheus.service.pid)"
fi
apt-get purge --yes --quiet speechgate
[ ! -e /etc/speechgate/environment ] || { echo "purging the package has left the configuration" >&2; exit 1; }
rm -rf /var/lib/speechgate /var/backups/speechgate /etc/speechgate /etc/systemd/system/speechgate-backup.*
userdel speechgate
