package gate

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/words"
)

// Allowance is an entry of also_allow: a request that is allowed although the dialect does not
// list it.
type Allowance struct {
	// The method of the request: `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or
	// `OPTIONS`.
	Method string `json:"method,omitempty"`

	// The path of the request, as it goes upstream. The last segment may be `*`: any
	// one segment of letters, digits and `-._~:`. One segment may be
	// `{speechgate.account_id}`: the ID of the account of the request's key, such as in
	// `/profilewords/-a-general/{speechgate.account_id}`.
	Path string `json:"path,omitempty"`
}

const (
	anySegment     = "*"
	accountSegment = "{" + handler.PlaceholderAccount + "}"
)

// match reports whether the allowance fits a method and a path. If the allowance has a segment
// for the account, match returns this segment of the path.
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
		case want == anySegment, want == accountSegment:
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

// allowance reports whether also_allow lets a request with this method and path through. The
// first entry that fits decides, and account is what [Allowance.match] returns for this entry.
func (g *Gate) allowance(api *dialect.API, method, path string) (account string, ok bool) {
	for i := range g.AlsoAllow {
		if account, ok = g.AlsoAllow[i].match(method, path); ok {
			// An entry with "*" can also fit a path that the dialect knows, which must stay refused.
			return account, !api.Knows(path)
		}
	}
	return "", false
}

// allowedMethods returns the methods that also_allow lets through for a path.
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
		for j := range i {
			if earlier, later := &g.AlsoAllow[j], &g.AlsoAllow[i]; earlier.covers(later) {
				return fmt.Errorf("also_allow %s %s: it has no effect, because the first entry that fits a request counts, and also_allow %s %s before it fits every such request: want it first, or not at all",
					later.Method, later.Path, earlier.Method, earlier.Path)
			}
		}
	}
	return nil
}

// covers reports whether this allowance fits every request that the other allowance fits.
func (a *Allowance) covers(other *Allowance) bool {
	segments, others := strings.Split(a.Path, "/"), strings.Split(other.Path, "/")
	if a.Method != other.Method || len(segments) != len(others) {
		return false
	}
	for i, segment := range segments {
		if segment != anySegment && segment != accountSegment && segment != others[i] {
			return false
		}
	}
	return true
}

func (a *Allowance) validate(api *dialect.API) error {
	if !isMethod(a.Method) {
		return fmt.Errorf("also_allow %q %q: want one method in capitals, such as GET, and a line for each", a.Method, a.Path)
	}
	if !slices.Contains(methods(), a.Method) {
		return fmt.Errorf("also_allow %q %q: want one of the methods %s", a.Method, a.Path, words.Alternatives(methods()))
	}
	// CleanPath would refuse the two special segments, so it checks the path with plain words
	// in their places.
	segments := strings.Split(a.Path, "/")
	accounts := 0
	if strings.Contains(a.Path, "/:") {
		return fmt.Errorf("also_allow %s %q: a segment that begins with a colon fits itself only: want * as the last segment, for any one", a.Method, a.Path)
	}
	for i, segment := range segments {
		switch segment {
		case accountSegment:
			accounts++
			segments[i] = "account"
		case anySegment:
			if i == len(segments)-1 {
				segments[i] = "free"
			}
		}
	}
	switch {
	case accounts > 1:
		return fmt.Errorf("also_allow %s %q: %s comes twice: want it once at most", a.Method, a.Path, accountSegment)
	case !dialect.CleanPath(strings.Join(segments, "/")):
		return fmt.Errorf("also_allow %s %q: want a path that begins with a slash, without dot segments, doubled slashes or escapes; its last segment may be %s, and one may be %s", a.Method, a.Path, anySegment, accountSegment)
	}
	lower := Allowance{a.Method, strings.ToLower(a.Path)} // some backends ignore case
	for _, path := range api.Paths() {
		if _, opens := lower.match(a.Method, strings.TrimRight(path, "/")); opens || api.Knows(a.Path) {
			return fmt.Errorf("also_allow %s %s: the %s dialect knows this path, and what it does not list there stays refused", a.Method, a.Path, api.Name)
		}
	}
	return nil
}

// methods returns the methods that an allowance can have. TRACE is not one of them: its answer
// repeats the request, with the upstream key.
func methods() []string {
	return []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}
}

// isMethod reports whether an allowance can have this method: capital letters and hyphens,
// like every method in use. CONNECT is not possible, because it asks for a tunnel.
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
