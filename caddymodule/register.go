package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	_ "github.com/speechgate/speechgate/caddymodule/admin"          // the admin API
	_ "github.com/speechgate/speechgate/caddymodule/console"        // speechgate_console
	_ "github.com/speechgate/speechgate/caddymodule/gate"           // speechgate, speechgate_verify
	_ "github.com/speechgate/speechgate/caddymodule/health"         // speechgate_health
	_ "github.com/speechgate/speechgate/caddymodule/issue"          // speechgate_issue
	_ "github.com/speechgate/speechgate/caddymodule/logfilter"      // the log filter
	_ "github.com/speechgate/speechgate/caddymodule/sandboxbackend" // speechgate_sandbox
	_ "github.com/speechgate/speechgate/caddymodule/webhook"        // the handler speechgate_webhook of events
	"github.com/speechgate/speechgate/internal/command"
	"github.com/speechgate/speechgate/internal/demo"
)

func init() {
	// The gate comes after the directives that rewrite a request, because it decides by the
	// path that goes upstream. It comes before the directives that authenticate. The health check,
	// the console, the verify endpoint and the issuance API come before the gate, because the gate
	// would refuse requests for their paths. The health check comes first, because it answers one path only.
	httpcaddyfile.RegisterDirectiveOrder("speechgate_health", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("speechgate_console", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("speechgate_verify", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("speechgate_issue", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("speechgate", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("speechgate_sandbox", httpcaddyfile.After, "file_server")

	command.Register(demo.Command)
}
