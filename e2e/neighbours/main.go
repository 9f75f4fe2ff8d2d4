// Command caddy is Caddy with Speechgate and the plugins beside which it is tested.
package main

import (
	_ "github.com/caddyserver/cache-handler"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/speechgate/speechgate"
)

func main() { caddycmd.Main() }
