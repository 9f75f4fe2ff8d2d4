#!/usr/bin/env bash
# Builds Caddy with Speechgate from this checkout by xcaddy, as xcaddy.json says.
#
#     ./xcaddy.sh [OUTPUT] [ARGUMENT OF xcaddy build …]
#
# OUTPUT is caddy in the working directory unless it is given. Further arguments add
# plugins, such as --with github.com/mholt/caddy-l4. It needs Go, a C compiler and
# the network; xcaddy itself is fetched in the version below.
set -euo pipefail
checkout=$(cd "$(dirname "$0")" && pwd)
output=${1:-caddy}
shift || true

# value FIELD prints a text of xcaddy.json.
value() { sed -n 's/.*"'"$1"'": "\(.*\)".*/\1/p' "$checkout/xcaddy.json"; }

XCADDY_GO_BUILD_FLAGS=$(value build_flags)
export XCADDY_GO_BUILD_FLAGS
export CGO_ENABLED=1 # for SQLite; xcaddy's default is 0
GOFLAGS="" exec go run github.com/caddyserver/xcaddy/cmd/xcaddy@v0.4.5 \
	build "$(value caddy_version)" --with "$(value module_path)@v0.0.0=$checkout" --output "$output" "$@"
