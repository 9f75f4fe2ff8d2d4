// Command floor is Caddy with the least that checks a key: a digest, a look into a
// map, a comparison of the client's address, and the backend's key in the place of
// the client's. What it costs is the floor under every gate inside Caddy.
package main

import (
	"bufio"
	"crypto/sha256"
	"net/http"
	"net/netip"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddy.RegisterModule(new(floor))
	httpcaddyfile.RegisterHandlerDirective("bench_floor", parse)
	httpcaddyfile.RegisterDirectiveOrder("bench_floor", httpcaddyfile.Before, "reverse_proxy")
	caddycmd.Main()
}

// floor lets requests through whose key is in a file.
type floor struct {
	Secrets  string `json:"secrets"`  // a file with one in each line
	Upstream string `json:"upstream"` // the backend's own key

	keys    map[[sha256.Size]byte]allowed
	allowed []netip.Prefix
}

// allowed is a rule's number. Records with pointers would be the collector's work.
type allowed uint8

// CaddyModule implements [caddy.Module].
func (*floor) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_floor", New: func() caddy.Module { return new(floor) }}
}

func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	f := new(floor)
	h.Next()
	if !h.Args(&f.Secrets, &f.Upstream) {
		return nil, h.ArgErr()
	}
	return f, nil
}

// Provision reads the file.
func (f *floor) Provision(caddy.Context) error {
	file, err := os.Open(f.Secrets)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	f.keys = make(map[[sha256.Size]byte]allowed)
	f.allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f.keys[sha256.Sum256(lines.Bytes())] = 0
	}
	return lines.Err()
}

// ServeHTTP lets a request through or refuses it.
func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	secret, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	rule, known := f.keys[sha256.Sum256([]byte(secret))]
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	client, _ := netip.ParseAddr(text) // what does not parse is in no prefix
	if !known || !f.allowed[rule].Contains(client) {
		w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	r.Header.Set("Authorization", "Bearer "+f.Upstream)
	return next.ServeHTTP(w, r)
}
