package doctor

import (
	"cmp"
	"encoding/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/configcheck"
)

// checkAdmin looks at the address of Caddy's admin API. The API has no password: who reaches it can load
// another configuration and issue keys. Caddy's remote administration, which has another address, asks for
// certificates.
func (e *examination) checkAdmin() {
	var config struct {
		Admin caddy.AdminConfig `json:"admin"`
	}
	if err := json.Unmarshal(e.Config, &config); err != nil {
		e.add(CheckAdmin, Skip, "", "The configuration cannot be read.", "")
		return
	}
	if config.Admin.Disabled {
		e.add(CheckAdmin, Pass, "", "The admin API is switched off.", "")
		return
	}
	listen := cmp.Or(caddy.NewReplacer().ReplaceAll(config.Admin.Listen, ""), caddy.DefaultAdminListen)
	address, err := caddy.ParseNetworkAddress(listen)
	switch {
	case err != nil:
		e.add(CheckAdmin, Fail, "admin "+listen, "The address of the admin API cannot be read: "+err.Error()+".", "Correct it.")
	case address.IsFdNetwork():
		e.add(CheckAdmin, Skip, "admin "+listen, "The socket of the admin API comes from another program, so its address is not known here.", "")
	case configcheck.IsLocal([]string{listen}):
		e.add(CheckAdmin, Pass, "admin "+listen, "Only programs of this machine reach the admin API.", "")
	default:
		e.add(CheckAdmin, Fail, "admin "+listen, "Other machines reach the admin API, which has no password: who reaches it can load another configuration and issue keys.",
			"Write admin unix//run/caddy/admin.sock or admin localhost:2019 into the global options. For other machines, use Caddy's remote administration, which asks for certificates.")
	}
}
