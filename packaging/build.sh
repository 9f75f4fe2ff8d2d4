#!/usr/bin/env bash
# usage: packaging/build.sh [DIRECTORY]
#
# Builds the program, a package for Debian and one for Red Hat's family, a list of what is in
# the program (SBOM, CycloneDX), and their checksums, in DIRECTORY (default: dist). The same
# commit, version of Go and C compiler give the same bytes.
#
# VERSION is the version of the packages. Without it, they are named after the commit.
set -euo pipefail
cd "$(dirname "$0")/.."
export TZ=UTC
DIST=$(realpath -m "${1:-dist}")
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
VERSION=${VERSION:-0.0.0~$(git log -1 --format=%cd --date=format-local:%Y%m%d).$(git rev-parse --short=12 HEAD)}
ARCH=$(go env GOARCH)
export DIST SOURCE_DATE_EPOCH VERSION ARCH
mkdir -p "$DIST"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

CGO_ENABLED=1 CGO_CFLAGS="-O2" GOFLAGS="" go build -trimpath -buildvcs=false -tags=nobadger,nomysql,nopgx -ldflags="-s -buildid=" -o "$DIST/caddy" ./cmd/caddy

CGO_ENABLED=0 GOFLAGS="" GOBIN="$tools" go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
CGO_ENABLED=0 GOFLAGS="" GOBIN="$tools" go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
rm -f "$DIST"/*.deb "$DIST"/*.rpm
for packager in deb rpm; do
	"$tools/nfpm" package --config packaging/nfpm.yaml --packager "$packager" --target "$DIST"
done
"$tools/cyclonedx-gomod" bin -json -noserial -output "$DIST/speechgate.cdx.json" "$DIST/caddy"
# The time of the list is the commit's, not that of the build.
sed -i "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$(git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)\"/" "$DIST/speechgate.cdx.json"
cd "$DIST"
sha256sum caddy ./*.deb ./*.rpm speechgate.cdx.json >SHA256SUMS
