package command

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/admin"
)

func whoamiCommand() *cobra.Command {
	whoami := Leaf("whoami [flags]", "Says who you are for the running server, and which client address its sites take", NoArgument, showCaller)
	whoami.Long = `Says who you are for the running server: the operator and the address that its audit
trail would have for you. For each HTTP server of the configuration, it says which
client address the server takes from a request. The addresses of keys are compared
with this address.

The request is one of yours, or one from --remote-ip with --forwarded-for. So you
can see, before a client does, what a proxy in front makes of its address.

It asks the running server, through Caddy's admin API: at --address, else where the
configuration has it, else at localhost:2019. It reads no keystore.`
	whoami.Example = `  $ caddy speechgate whoami
  $ caddy speechgate whoami --remote-ip 10.0.0.5 --forwarded-for "203.0.113.9, 10.0.0.4"`
	whoami.Flags().String("remote-ip", "", "The address at the other end of the connection (default yours)")
	whoami.Flags().String("forwarded-for", "", "The value of the request's header X-Forwarded-For")
	addressFlag(whoami)
	return whoami
}

func showCaller(cmd *cobra.Command, _ []string) error {
	var q admin.SeenQuery
	if err := textFlags(cmd, flagInto{"remote-ip", &q.RemoteIP}, flagInto{"forwarded-for", &q.ForwardedFor}); err != nil {
		return err
	}
	query := url.Values{}
	for name, value := range map[string]string{"remote_ip": q.RemoteIP, "forwarded_for": q.ForwardedFor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	path := admin.WhoamiPath
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var seen admin.Seen
	if _, err := askServer(cmd, http.MethodGet, path, nil, &seen); err != nil {
		return err
	}
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	rows := [][]string{
		{"Operator", orDash(seen.Operator)},
		{"From", orDash(string(seen.ActorIP))},
		{"Request from", orDash(string(seen.RemoteIP))},
	}
	if len(seen.Servers) > 0 {
		rows = append(rows, []string{""}, []string{"SERVER", "LISTENS AT", "CLIENT ADDRESS", "TRUSTED PROXY"})
	}
	for _, by := range seen.Servers {
		rows = append(rows, []string{by.Server, strings.Join(by.Listen, ", "), by.Client, yesNo(by.Trusted)})
	}
	return s.print(seen, rows...)
}
