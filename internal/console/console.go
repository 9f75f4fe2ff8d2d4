// Package console is the web console: pages for the holders of accounts, and for operators.
//
// A page is a thin adapter on package manage: it fills a request, calls a method of a
// [manage.Manager] whose actor is the signed-in user, and shows the result. It decides
// nothing. Package signin decides who is signed in.
//
//   - routes.go: the table of all URLs, with who may reach each of them
//   - visit.go: one request: its user, its language and zone, its answer
//   - view.go: what templates can call: texts, times, URLs
//   - words*.go: the Japanese texts; the English ones are in the pages
//   - pages: the templates, a file for each page, around layout.html
//   - static: the style sheet, whose first comment lists the components, and the script
//
// All pages work without JavaScript, except for passkeys. The package knows no Caddy.
package console

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/text/message/catalog"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/internal/refusals"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Gateway is what the console needs of the server that it is a part of.
type Gateway interface {
	// Open returns the keystore, which stays open until release is called. If err is not
	// nil, release is nil.
	Open() (store *keystore.Store, release func(), err error)
	// Now returns the current instant.
	Now() policy.Time
	// Gates returns what the decisions of the configuration depend on.
	Gates() manage.GateConfigs
	// LimitUse returns the function for the field of the same name of a [manage.Manager].
	LimitUse(store *keystore.Store) func(context.Context, *policy.Key, policy.Operation) (manage.LimitUse, error)
	// Streams returns the oldest live streams, up to most of them, oldest first, and how many
	// there are in all.
	Streams(most int) (oldest []LiveStream, all int)
	// CutStream cuts a live stream. It returns the account of the stream, and whether there
	// was such a stream.
	CutStream(id string) (accountID string, cut bool)
	// Refusals returns the feed of refusals.
	Refusals() *refusals.Feed
	// Ready returns an error if the server cannot decide on requests.
	Ready(ctx context.Context) error
}

// Settings say what the console is.
type Settings struct {
	// Path is the path of the start page. It begins and ends with a slash.
	Path string
	// Name is the name of the service, which people read on every page and in their
	// authenticator apps.
	Name string
	// URL is the URL of the start page, which set-up links begin with. Default: that by which the
	// operator has reached the console.
	URL string
	// APIURL is the URL of the API, for the examples of calls, without a slash at its end.
	// Default: the origin of the console.
	APIURL string
	// Provider is where operators can sign in besides; nil if they cannot.
	Provider *openid.Provider
	// SignIn decides who is signed in.
	SignIn *signin.Service
	// Gateway is the server.
	Gateway Gateway
	// Failed is told why a page answers with the status 500 or 503, or lacks a part. Default: nobody is told.
	Failed func(r *http.Request, err error)
}

// Caller says where a request comes from.
type Caller struct {
	Client    netip.Addr // the client's address, as the gates see it; invalid if unknown
	Remote    netip.Addr // the other end of the connection: the client, or a proxy
	HTTPS     bool       // the client's connection is encrypted
	EarlyData bool       // the request can be a repetition
}

// Console serves the pages. It is safe for concurrent use.
type Console struct {
	settings Settings
	assets   assets
	pages    map[string]*template.Template
	words    catalog.Catalog
	paths    *http.ServeMux
	origins  *http.CrossOriginProtection
	watched  atomic.Int32 // open streams of events
	busiest  *busiest
}

// New returns a Console.
func New(s Settings) (*Console, error) {
	if !strings.HasPrefix(s.Path, "/") || !strings.HasSuffix(s.Path, "/") {
		return nil, fmt.Errorf("path %q: want one that begins and ends with a slash", s.Path)
	}
	if s.Failed == nil {
		s.Failed = func(*http.Request, error) {}
	}
	c := &Console{settings: s, paths: http.NewServeMux(), origins: http.NewCrossOriginProtection(), busiest: newBusiest()}
	var err error
	if c.assets, err = readAssets(); err != nil {
		return nil, err
	}
	if c.words, err = newCatalog(); err != nil {
		return nil, err
	}
	if c.pages, err = readPages(); err != nil {
		return nil, err
	}
	for _, rt := range routes() {
		pattern := rt.method + " " + s.Path + rt.path
		if rt.path == "" {
			pattern += "{$}"
		}
		c.paths.HandleFunc(pattern, c.entrance(&rt))
	}
	nowhere := route{access: everyone, serve: func(v *visit) error { return v.notFound() }}
	c.paths.HandleFunc(s.Path, c.entrance(&nowhere))
	return c, nil
}

// Serve answers a request whose path is [Settings.Path], or is below it.
func (c *Console) Serve(w http.ResponseWriter, r *http.Request, caller Caller) {
	setHeader(w.Header())
	if name, ok := strings.CutPrefix(r.URL.Path, c.settings.Path+"assets/"); ok {
		c.assets.serve(w, r, name)
		return
	}
	c.paths.ServeHTTP(w, withCaller(r, caller))
}

// setHeader sets the fields that protect every answer.
func setHeader(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	h.Set("Cache-Control", "no-store")
}

// route is one method of one path.
type route struct {
	method string
	path   string // below the path of the console; {id} stands for one segment
	access access
	serve  func(*visit) error
}

// access says who may reach a route.
type access uint8

// Who may reach a route. The zero value is nobody, so that a route without access is closed.
const (
	nobody    access = iota
	everyone         // also without a session
	halfway          // a user who has given the password and still needs the second factor
	anyUser          // a signed-in user of either kind
	holders          // a signed-in holder of an account
	operators        // a signed-in operator
	watchers         // as operators, for what a page asks by itself: it does not keep the session from ending
)

// verdict says what becomes of a request for a route.
type verdict uint8

const (
	enter     verdict = iota // the page is served
	conceal                  // the page does not exist for the user
	mustSign                 // the user must sign in first
	mustProve                // the user must give the second factor first
	isSigned                 // the user is signed in already
)

// admit decides whether a session may reach a route. The argument session is nil if the
// request has no session. This is the only place that decides it.
func (a access) admit(session *keystore.ConsoleSession) verdict {
	switch {
	case a == everyone:
		return enter
	case a == nobody:
		return conceal
	case session == nil:
		return mustSign
	case !session.Passed:
		if a == halfway {
			return enter
		}
		return mustProve
	case a == halfway:
		return isSigned
	case a == anyUser,
		a == holders && session.User.Kind == keystore.ActorAccount,
		(a == operators || a == watchers) && session.User.Kind == keystore.ActorOperator:
		return enter
	}
	return conceal
}

// below returns the URL of a page: each segment is one segment of the path.
func (c *Console) below(segments ...string) string {
	return c.settings.Path + path.Join(segments...)
}
