# What .ci/run and .ci/nightly share. Source it from the root of the repository.
set -euo pipefail

# The tags leave out storage drivers of Caddy's that nothing here uses, which
# saves a third of the build.
export GOFLAGS="${GOFLAGS:-} -tags=nobadger,nomysql,nopgx"
export CGO_ENABLED=1
# With CI set, a test that lacks a program fails. Without it, the test is skipped.
export CI=1
tools=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tools"' EXIT

# step runs a function under a headline, and says how long it took.
step() {
	printf '\n== %s\n' "$1"
	local begun=$SECONDS
	"${@:2}"
	printf '== took %d s\n' $((SECONDS - begun))
}

# beside starts a function that runs while the next steps run, with the lowest priority: it
# uses the time in which tests wait, and delays no test. finish prints its output.
beside() {
	(
		renice -n 19 "$BASHPID" >/dev/null
		"$1"
	) >"$tools/beside" 2>&1 &
	beside_job=$!
}

# finish waits for the function of beside, and fails if the function failed.
finish() {
	local status=0
	wait "$beside_job" || status=$?
	cat "$tools/beside"
	return $status
}

has() { for name; do command -v "$name" && return; done; }

# programs installs what tests run: browsers, clients, databases, proxies and other languages.
programs() {
	local packages=()
	has apache2 || packages+=(apache2-bin)
	has chromium chromium-browser google-chrome || packages+=(chromium)
	has curl || packages+=(curl)
	has docker-compose || packages+=(docker-compose)
	fc-list :lang=ja 2>/dev/null | grep -q . || packages+=(fontconfig fonts-ipafont-gothic)
	has fail2ban-regex || packages+=(fail2ban)
	has haproxy || packages+=(haproxy)
	has java || packages+=(default-jdk-headless)
	has logrotate || packages+=(logrotate)
	has nginx || packages+=(nginx-light)
	has node || packages+=(nodejs)
	has npm || packages+=(npm)
	has pg_ctl /usr/lib/postgresql/*/bin/pg_ctl || packages+=(postgresql)
	has pgbouncer /usr/sbin/pgbouncer || packages+=(pgbouncer)
	has php || packages+=(php-cli)
	has prometheus || packages+=(prometheus)
	has python3 || packages+=(python3)
	python3 -c 'import requests' 2>/dev/null || /usr/bin/python3 -c 'import requests' 2>/dev/null || packages+=(python3-requests)
	has rpm || packages+=(rpm)
	has ruby || packages+=(ruby)
	has systemd-analyze || packages+=(systemd)
	perl -MCGI -e 1 2>/dev/null || packages+=(perl libcgi-pm-perl)
	NODE_PATH=/usr/share/nodejs node -e 'require("qs")' 2>/dev/null || packages+=(node-qs)
	ruby -e 'require "rack"' 2>/dev/null || packages+=(ruby-rack)
	[ ${#packages[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || { echo "install ${packages[*]}: there is no apt-get here to do it" >&2; return 1; }
	apt-get update -qq
	# Tests start servers of their own. So the package postgresql need not start one on port 5432.
	install -D -m 644 /dev/stdin /etc/postgresql-common/createcluster.d/no-server.conf <<<'create_main_cluster = false'
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${packages[@]}"
}

# sdks installs the vendors' libraries that tests run, at the versions of the lock files.
sdks() {
	local package
	for package in e2e/sdk/*/package.json; do
		(cd "$(dirname "$package")" && npm ci --no-audit --no-fund)
	done
}

# neighbours builds the gateway with the plugins that tests run beside, Litestream, and dex.
neighbours() {
	(cd e2e/neighbours && go vet . && go build -o "$tools/neighbours" .)
	export SPEECHGATE_NEIGHBOURS="$tools/neighbours"
	GOFLAGS="" GOBIN="$tools" go install github.com/benbjohnson/litestream/cmd/litestream@v0.5.18
	export SPEECHGATE_LITESTREAM="$tools/litestream"
	(cd e2e/dex && GOFLAGS="" go build -o "$tools/dex" github.com/dexidp/dex/cmd/dex)
	export SPEECHGATE_DEX="$tools/dex"
}

# modules checks that a build of Caddy has each of our modules.
modules() {
	local want
	want=$(sort <<-END
		admin.api.speechgate
		caddy.logging.encoders.filter.speechgate
		events.handlers.speechgate_webhook
		http.handlers.speechgate
		http.handlers.speechgate_console
		http.handlers.speechgate_health
		http.handlers.speechgate_issue
		http.handlers.speechgate_sandbox
		http.handlers.speechgate_verify
		speechgate
	END
	)
	diff <(echo "$want") <("$1" list-modules | grep speechgate | sort)
}

# fuzz runs each fuzz target for this long. The targets are found in the source, because
# go test -list would link the tests of every package.
fuzz() {
	local targets line package target
	targets=$(grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed -E 's#/[^/]*:func #:#' | sort)
	for line in $targets; do
		package=${line%:*} target=${line#*:}
		echo "$package $target"
		# Go's fuzzer can fail for its own deadline, when its time is up on a busy
		# machine. An input that fails is kept, and fails the second time as well.
		fuzz_target "$package" "$target" "$1" || fuzz_target "$package" "$target" "$1"
	done
}

fuzz_target() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$3" "$1"; }
