package console

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/speechgate/speechgate/caddymodule/endpoint"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
)

func init() {
	httpcaddyfile.RegisterDirective("speechgate_console", parseConsole)
}

func parseConsole(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	path, matcher, err := endpoint.Argument(h)
	if err != nil {
		return nil, err
	}
	c := &Console{Path: path}
	if err := c.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, c), nil
}

// UnmarshalCaddyfile reads the block of the directive speechgate_console.
//
// Syntax:
//
//	speechgate_console [<matcher>|<path>] {
//	    path    <path>
//	    url     <URL>
//	    api_url <URL>
//	    name    <text>
//	    oidc {
//	        issuer         <URL>
//	        client_id      <ID>
//	        client_secret  <secret>
//	        scopes         <scope>...
//	        operator_claim email|sub
//	    }
//	}
func (c *Console) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return options.ParseBlock(d, map[string]options.Option{
		"path":    endpoint.PathOption("speechgate_console", &c.Path),
		"url":     options.Text(&c.URL),
		"api_url": options.Text(&c.APIURL),
		"name":    options.Text(&c.Name),
		"oidc":    c.readOIDC,
	})
}

func (c *Console) readOIDC(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("oidc %s: want a block with issuer, client_id and client_secret", d.Val())
	}
	c.OIDC = new(OIDC)
	return options.ParseBlock(d, map[string]options.Option{
		"issuer":        options.Text(&c.OIDC.Issuer),
		"client_id":     options.Text(&c.OIDC.ClientID),
		"client_secret": options.Secret(&c.OIDC.ClientSecret),
		"scopes": func(d *caddyfile.Dispenser) error {
			if c.OIDC.Scopes = d.RemainingArgs(); len(c.OIDC.Scopes) == 0 {
				return d.Errf("scopes: want one scope or more after scopes")
			}
			return nil
		},
		"operator_claim": options.Text(&c.OIDC.OperatorClaim),
	})
}

// check checks the options, with the defaults filled in.
func (c *Console) check() error {
	if plain := strings.TrimSuffix(c.Path, "/"); plain != "" && !dialect.CleanPath(plain) {
		return fmt.Errorf("path %q: want a path that begins with a slash, without wildcards, dot segments, doubled slashes or escapes", c.Path)
	}
	for _, name := range dialect.Names() {
		if api, _ := dialect.ByName(name); c.Path != "/" && takesFrom(api, c.Path) {
			return fmt.Errorf("path %s: it belongs to the %s API, whose clients could not reach it any more; want another, such as %s", c.Path, name, DefaultPath)
		}
	}
	if err := cmp.Or(checkURL("url", c.URL), checkURL("api_url", c.APIURL)); err != nil {
		return err
	}
	if len(c.Name) > 60 || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("name %q: want up to 60 bytes of printable text", c.Name)
	}
	return nil
}

// takesFrom reports whether a path of the API is below the path of a console, or is that path.
func takesFrom(api *dialect.API, path string) bool {
	return api.Knows(path) || slices.ContainsFunc(api.Paths(), func(of string) bool {
		return strings.HasPrefix(strings.ToLower(of), strings.ToLower(path))
	})
}

// checkURL checks the value of an option that is a URL, if it is set.
func checkURL(option, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%s %q: want a URL with https:// or http://, a host, and no query, such as https://speech.example.com/", option, text)
	}
	return nil
}
