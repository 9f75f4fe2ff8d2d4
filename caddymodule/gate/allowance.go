package gate

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
)

// Allowance is an operation that the dialect does not list.
type Allowance struct {
	// The request's method, in capitals, such as `GET`.
	Method string `json:"method,omitempty"`

	// The request's path, as it goes upstream. The last segment may be `*`, which
	// is any one segment of letters, digits and `-._~:`. One other segment may be
	// `{speechgate.account_id}`, which is the ID of the key's account and no other:
	// `/profilewords/-a-general/{speechgate.account_id}`.
	Path string `json:"path,omitempty"`
}

const (
	freeSegment    = "*"
	accountSegment = "{" + handler.PlaceholderAccount + "}"
)

// match reports whether a request of this method and path is the allowance's. It
// returns the segment that must be the account of the key, if the allowance has
// one.
func (a *Allowance) match(method, path string) (account string, ok bool) {
	if method != a.Method {
		return "", false
	}
	pattern := a.Path
	for {
		want, morePattern, wantMore := strings.Cut(pattern, "/")
		segment, morePath, hasMore := strings.Cut(path, "/")
		switch {
		case wantMore != hasMore:
			return "", false
		case want == freeSegment, want == accountSegment:
			if segment == "" || !dialect.CleanPath("/"+segment) {
				return "", false
			}
			if want == accountSegment {
				account = segment
			}
		case want != segment:
			return "", false
		}
		if !wantMore {
			return account, true
		}
		pattern, path = morePattern, morePath
	}
}

// allowance finds the first allowance that a request fits. The account is that of
// Allowance.match.
func (g *Gate) allowance(api *dialect.API, method, path string) (account string, ok bool) {
	for i := range g.AlsoAllow {
		if account, ok = g.AlsoAllow[i].match(method, path); ok {
			// A free segment must not open what the dialect knows.
			return account, !api.Knows(path)
		}
	}
	return "", false
}

// allowedMethods are the methods of the allowances that a path fits.
func (g *Gate) allowedMethods(path string) (methods []string) {
	for i := range g.AlsoAllow {
		method := g.AlsoAllow[i].Method
		if _, ok := g.allowance(g.api, method, path); ok && !slices.Contains(methods, method) {
			methods = append(methods, method)
		}
	}
	return methods
}

func (g *Gate) validateAllowances() error {
	for i := range g.AlsoAllow {
		if err := g.AlsoAllow[i].validate(g.api); err != nil {
			return err
		}
	}
	return nil
}

func (a *Allowance) validate(api *dialect.API) error {
	if !isMethod(a.Method) {
		return fmt.Errorf("also_allow %q %q: want one method in capitals, such as GET, and a line for each", a.Method, a.Path)
	}
	// Whether the rest is a clean path shows once the two words are segments like
	// others.
	segments := strings.Split(a.Path, "/")
	accounts := 0
	for i, segment := range segments {
		switch segment {
		case accountSegment:
			accounts++
			segments[i] = "account"
		case freeSegment:
			if i == len(segments)-1 {
				segments[i] = "free"
			}
		}
	}
	switch {
	case accounts > 1:
		return fmt.Errorf("also_allow %s %q: %s comes twice: want it once at most", a.Method, a.Path, accountSegment)
	case !dialect.CleanPath(strings.Join(segments, "/")):
		return fmt.Errorf("also_allow %s %q: want a path that begins with a slash, without dot segments, doubled slashes or escapes; its last segment may be %s, and one may be %s", a.Method, a.Path, freeSegment, accountSegment)
	}
	lower := Allowance{a.Method, strings.ToLower(a.Path)} // as a lax backend reads it
	for _, path := range api.Paths() {
		if _, opens := lower.match(a.Method, strings.TrimRight(path, "/")); opens || api.Knows(a.Path) {
			return fmt.Errorf("also_allow %s %s: the %s dialect knows this path, and what it does not list there stays refused", a.Method, a.Path, api.Name)
		}
	}
	return nil
}

// isMethod reports whether a gate can let requests of this method through. A
// method is a token of RFC 9110. The methods in use are letters and hyphens.
func isMethod(method string) bool {
	return method != "" && method != http.MethodConnect &&
		!strings.ContainsFunc(method, func(r rune) bool { return (r < 'A' || r > 'Z') && r != '-' })
}

func (g *Gate) unmarshalAllowance(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("also_allow %s: want a method and a path, such as also_allow GET /v1/engines", strings.Join(args, " "))
	}
	g.AlsoAllow = append(g.AlsoAllow, Allowance{Method: args[0], Path: args[1]})
	return nil
}
