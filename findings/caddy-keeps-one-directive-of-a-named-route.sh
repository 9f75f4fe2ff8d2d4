#!/usr/bin/env bash
# What: Caddy 2.11.9 keeps the first directive of a named route, &(name) { … }, and drops
# the others without an error and without a warning. One route block around the
# directives keeps all of them.
# Why it matters here: an operator who shares an API's handlers between sites writes a
# gate and a reverse_proxy into a named route. The proxy is gone; if another directive
# comes first, the gate is gone.
# Needs: bash, Go 1.26 or later.
# Seen: the handlers of the named route, in the JSON that Caddy makes of it.
#   plain: headers
#   in a route block: headers static_response
# Exit status: 0 if the output is the one above.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"log"
	"regexp"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
)

func main() {
	for _, route := range [][2]string{
		{"plain", "header X-A 1\nrespond ok"},
		{"in a route block", "route {\nheader X-A 1\nrespond ok\n}"},
	} {
		config := "&(api) {\n" + route[1] + "\n}\nhttp://:8080 {\ninvoke api\n}\n"
		json, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			log.Fatal(err)
		}
		for _, warning := range warnings {
			if warning.Message != "Caddyfile input is not formatted; run 'caddy fmt --overwrite' to fix inconsistencies" {
				log.Fatal(warning)
			}
		}
		fmt.Print(route[0], ":")
		for _, handler := range regexp.MustCompile(`"handler":"(headers|static_response)"`).FindAllSubmatch(json, -1) {
			fmt.Printf(" %s", handler[1])
		}
		fmt.Println()
	}
}
GO
(go mod init example.com/adapt && go get github.com/caddyserver/caddy/v2@v2.11.9 && go mod tidy && go build -tags nobadger,nomysql,nopgx -o adapt .) >log 2>&1 || { cat log; exit 1; }
./adapt | tee seen
diff seen - <<'TXT'
plain: headers
in a route block: headers static_response
TXT
echo "as described"
