#!/usr/bin/env bash
# What: if the directive intercept of Caddy 2.11.9 replaces an answer by another one with
# respond, the Content-Length is still that of the first answer. The client waits for
# bytes that do not come, or takes the answer for cut off.
# header -Content-Length before respond helps.
# Why it matters here: intercept in front of an API's handlers is the way to give all
# refusals another form.
# Needs: bash, curl, Go 1.26 or later.
# Seen: the exit status of curl (18: the transfer is incomplete), and the body.
#   plain: 18 {"refused":true}
#   with header -Content-Length: 0 {"refused":true}
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"log"
	"net"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
)

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func main() {
	plain, without, backend := freePort(), freePort(), freePort()
	site := func(port, first string) string {
		return "http://127.0.0.1:" + port + " {\nbind 127.0.0.1\nintercept {\n@refused status 401\nhandle_response @refused {\n" + first +
			"respond `{\"refused\":true}` 401\n}\n}\nreverse_proxy 127.0.0.1:" + backend + "\n}\n"
	}
	config := "{\nadmin off\npersist_config off\n}\n" + site(plain, "") + site(without, "header -Content-Length\n") +
		"http://127.0.0.1:" + backend + " {\nbind 127.0.0.1\nrespond \"an answer that is longer than the other\" 401\n}\n"
	json, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		log.Fatal(err)
	}
	if err := caddy.Load(json, true); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("ports", fmt.Appendln(nil, plain, without), 0o600); err != nil {
		log.Fatal(err)
	}
	select {}
}
GO
(go mod init example.com/intercept && go get github.com/caddyserver/caddy/v2@v2.11.9 && go mod tidy && go build -tags nobadger,nomysql,nopgx -o caddy .) >log 2>&1 || { cat log; exit 1; }
HOME=$dir XDG_DATA_HOME=$dir XDG_CONFIG_HOME=$dir timeout 60 ./caddy >log 2>&1 &
server=$!
for _ in $(seq 200); do [ ! -s ports ] || break; sleep 0.1; done
read -r plain without <ports || { cat log; exit 1; }
try() { # name, port
	local status=0
	curl -sS -m 10 -o body "http://127.0.0.1:$2/" 2>/dev/null || status=$?
	echo "$1: $status $(cat body)"
}
{
	try plain "$plain"
	try "with header -Content-Length" "$without"
} | tee seen
diff seen - <<'TXT'
plain: 18 {"refused":true}
with header -Content-Length: 0 {"refused":true}
TXT
echo "as described"
