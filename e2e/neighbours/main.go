// Command caddy is Caddy with Speechgate and the plugins beside which it is tested.
package main

import (
	_ "github.com/RussellLuo/caddy-ext/requestbodyvar"
	_ "github.com/caddyserver/cache-handler"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/greenpau/caddy-security"
	_ "github.com/mholt/caddy-l4"
	_ "github.com/mholt/caddy-ratelimit"

	_ "github.com/speechgate/speechgate"
)

func main() { caddycmd.Main() }
