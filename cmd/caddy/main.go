// Command caddy is Caddy with its standard modules and Speechgate: the program
// that xcaddy builds from xcaddy.json.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/speechgate/speechgate"
)

func main() {
	caddycmd.Main()
}
