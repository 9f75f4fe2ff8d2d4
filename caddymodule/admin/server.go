package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

var (
	errTwoKeys = errors.New("key and key_id name a key each: want one of them")
	errLimit   = fmt.Errorf("limit: want a number from 1 to %d", maxLimit)
)

// Health is the answer of a server that can decide on requests.
type Health struct {
	Status      string `json:"status"`       // ok
	LiveStreams int    `json:"live_streams"` // how many there are
}

// healthTime limits how long a check of the keystore may take.
const healthTime = 2 * time.Second

// health checks the keystore of the configuration.
func health(c *call, _ none) (Health, error) {
	module, err := c.admin.ctx.AppIfConfigured(app.Name)
	if err != nil {
		return Health{}, problemUnavailable.of(errors.New("this server has no keystore"))
	}
	ctx, cancel := context.WithTimeout(c.ctx, healthTime)
	defer cancel()
	if err := module.(*app.App).Ready(ctx); err != nil {
		return Health{}, problemUnavailable.of(err)
	}
	return Health{Status: "ok", LiveStreams: c.admin.streams.Len()}, nil
}

// SeenQuery describes a request as it arrives at this server.
type SeenQuery struct {
	// RemoteIP is the address at the other end of the connection. Default: the caller's.
	RemoteIP string `json:"remote_ip"`
	// ForwardedFor is the value of the header X-Forwarded-For.
	ForwardedFor string `json:"forwarded_for"`
}

// Seen says how this server sees the caller, and how its sites would see a request.
type Seen struct {
	Operator string        `json:"operator"`  // the name from the header Speechgate-Operator; can be empty
	ActorIP  manage.OrNull `json:"actor_ip"`  // the caller's address, as the audit trail would have it; null on a unix socket
	RemoteIP manage.OrNull `json:"remote_ip"` // the address of the request that Servers are about
	// Servers has the HTTP servers of the configuration, by name. It is empty if RemoteIP is
	// null.
	Servers []SeenBy `json:"servers"`
}

// SeenBy says which client address an HTTP server takes from a request.
type SeenBy struct {
	Server  string   `json:"server"`
	Listen  []string `json:"listen"`
	Client  string   `json:"client_ip"`     // the address that keys' addresses are compared with
	Trusted bool     `json:"trusted_proxy"` // the remote address is one of trusted_proxies
}

// seen says how this server sees the caller.
func seen(c *call, q SeenQuery) (Seen, error) {
	by, err := actorOf(c.Request, false)
	if err != nil {
		return Seen{}, err
	}
	result := Seen{Operator: by.ID, Servers: []SeenBy{}}
	remote := by.From
	if remote.IsValid() {
		result.ActorIP = manage.OrNull(remote.String())
	}
	if q.RemoteIP != "" {
		if remote, err = netip.ParseAddr(q.RemoteIP); err != nil || remote.Zone() != "" {
			return Seen{}, inField("remote_ip", fmt.Errorf("remote_ip %s: want one address, such as 192.0.2.7 or 2001:db8::7", words.Quote(q.RemoteIP)))
		}
	}
	if !remote.IsValid() {
		return result, nil
	}
	result.RemoteIP = manage.OrNull(remote.String())
	servers := c.admin.servers()
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		result.Servers = append(result.Servers, seenBy(c.ctx, name, servers[name], remote, q.ForwardedFor))
	}
	return result, nil
}

// seenBy has the server prepare a request as it prepares real ones.
func seenBy(ctx context.Context, name string, server *caddyhttp.Server, remote netip.Addr, forwardedFor string) SeenBy {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = netip.AddrPortFrom(remote, 1).String()
	if forwardedFor != "" {
		r.Header.Set("X-Forwarded-For", forwardedFor)
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), server)
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	client, _ := vars[caddyhttp.ClientIPVarKey].(string)
	trusted, _ := vars[caddyhttp.TrustedProxyVarKey].(bool)
	return SeenBy{Server: name, Listen: append([]string{}, server.Listen...), Client: client, Trusted: trusted}
}
