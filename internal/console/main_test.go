package console

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/internal/refusals"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const start policy.Time = 1_900_000_000_000

var root = keystore.Actor{Kind: keystore.ActorOperator, ID: "root"}

// fixture is a console with a keystore and a clock of the test.
type fixture struct {
	t       *testing.T
	store   *keystore.Store
	clock   atomic.Int64 // policy.Time
	server  *httptest.Server
	console *Console
	https   atomic.Bool
	client  atomic.Value // netip.Addr
	failed  atomic.Int64
	host    string // that browsers name in each request; empty: that of the server
	// mayFail says that a page is expected to report an error.
	mayFail atomic.Bool
	onCut   func() // after a stream was cut; may be nil

	streams  atomic.Value // []LiveStream
	refusals refusals.Feed
}

// Open implements Gateway.
func (f *fixture) Open() (*keystore.Store, func(), error) { return f.store, func() {}, nil }

// Now implements Gateway.
func (f *fixture) Now() policy.Time { return policy.Time(f.clock.Load()) }

// Gates implements Gateway.
func (f *fixture) Gates() manage.GateConfigs {
	return manage.GateConfigs{Gates: []manage.GateConfig{gate("amivoice"), gate("openai")}}
}

// gate has the settings of a gate that gives a grace of a day.
func gate(name string) manage.GateConfig {
	api, _ := dialect.ByName(name)
	return manage.GateConfig{
		Dialect: name, Backend: name, Rules: policy.Rules{Grace: policy.Grace{Window: 24 * time.Hour}},
		Classify: func(method string, path *url.URL) (dialect.Call, string) {
			return api.Classify(method, path.EscapedPath()), ""
		},
	}
}

// LimitUse implements Gateway.
func (f *fixture) LimitUse(*keystore.Store) func(context.Context, *policy.Key, policy.Operation) (manage.LimitUse, error) {
	return func(ctx context.Context, key *policy.Key, _ policy.Operation) (manage.LimitUse, error) {
		return f.operator().StoredLimitUse(ctx, key)
	}
}

// Streams implements Gateway.
func (f *fixture) Streams(most int) (oldest []LiveStream, all int) {
	streams, _ := f.streams.Load().([]LiveStream)
	return streams[:min(most, len(streams))], len(streams)
}

// CutStream implements Gateway.
func (f *fixture) CutStream(id string) (accountID string, cut bool) {
	streams, _ := f.streams.Load().([]LiveStream)
	for _, s := range streams {
		if s.ID == id {
			f.streams.Store([]LiveStream{})
			if f.onCut != nil {
				f.onCut()
			}
			return s.AccountID, true
		}
	}
	return "", false
}

// Refusals implements Gateway.
func (f *fixture) Refusals() *refusals.Feed { return &f.refusals }

// Ready implements Gateway.
func (f *fixture) Ready(context.Context) error { return nil }

func (f *fixture) advance(d time.Duration) { f.clock.Add(d.Milliseconds()) }

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureAt(t, nil)
}

// newFixtureAt returns a console whose operators can sign in at a provider.
func newFixtureAt(t *testing.T, provider *openid.Provider) *fixture {
	t.Helper()
	f := &fixture{t: t}
	f.clock.Store(int64(start))
	f.client.Store(netip.MustParseAddr("192.0.2.7"))
	cfg := storetest.New(t).Config()
	cfg.Clock = f.Now
	store, err := keystore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	f.store = store
	c, err := New(Settings{Path: "/console/", Name: "Speech & Text", Provider: provider, SignIn: signin.New(), Gateway: f, Failed: func(r *http.Request, err error) {
		f.failed.Add(1)
		if f.mayFail.Load() {
			return
		}
		t.Errorf("%s %s failed: %v", r.Method, r.URL.Path, err)
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.busiest.wait = time.Minute
	f.console = c
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _ := f.client.Load().(netip.Addr)
		c.Serve(w, r, Caller{Client: client, Remote: netip.MustParseAddr("198.51.100.1"), HTTPS: f.https.Load()})
	}))
	t.Cleanup(f.server.Close)
	return f
}

func (f *fixture) operator() *manage.Manager {
	return &manage.Manager{Store: f.store, Actor: root, Now: f.Now()}
}

func (f *fixture) account(name string) manage.Account {
	f.t.Helper()
	a, err := f.operator().CreateAccount(f.t.Context(), manage.NewAccount{Name: name})
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// browser is a client with cookies, which follows no redirects.
type browser struct {
	*http.Client

	f      *fixture
	header http.Header // of each request
}

func (f *fixture) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return &browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, f, http.Header{"Sec-Fetch-Site": {"same-origin"}}}
}

// page is an answer.
type answer struct {
	status int
	header http.Header
	body   string
}

func (b *browser) send(method, path string, form url.Values) answer {
	b.f.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/console/" + path
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(b.f.t.Context()), method, b.f.server.URL+path, body)
	if err != nil {
		b.f.t.Fatal(err)
	}
	r.Header, r.Host = b.header.Clone(), b.f.host
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Do(r)
	if err != nil {
		b.f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.f.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(path string) answer { b.f.t.Helper(); return b.send(http.MethodGet, path, nil) }

func (b *browser) post(path string, pairs ...string) answer {
	b.f.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, path, form)
}

// want checks the status of an answer, and that texts are in it.
func (b *browser) want(got answer, status int, texts ...string) answer {
	b.f.t.Helper()
	if got.status != status {
		b.f.t.Fatalf("status %d to %s, want %d:\n%s", got.status, got.header.Get("Location"), status, got.body)
	}
	for _, text := range texts {
		if !strings.Contains(got.body, text) {
			b.f.t.Errorf("want %q in\n%s", text, got.body)
		}
	}
	return got
}

// wantRedirect checks that an answer leads to a page.
func (b *browser) wantRedirect(got answer, to string) {
	b.f.t.Helper()
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/console/"+to {
		b.f.t.Fatalf("status %d to %q, want 303 to %q:\n%s", got.status, got.header.Get("Location"), to, got.body)
	}
}

const aPassword = "correct horse battery staple"

// setUp returns a browser that is signed in, by a set-up link.
func (f *fixture) setUp(invite func(*manage.Manager) (manage.Invitation, error)) *browser {
	f.t.Helper()
	invitation, err := invite(f.operator())
	if err != nil {
		f.t.Fatal(err)
	}
	b := f.browser()
	link := invitation.SetupURL.Reveal()
	b.want(b.get(link), 200)
	b.wantRedirect(b.post(link, "password", aPassword, "repeat", aPassword), "?done=password-set")
	return b
}

// holder returns a browser of the holder of an account.
func (f *fixture) holder(a manage.Account) *browser {
	f.t.Helper()
	return f.setUp(func(m *manage.Manager) (manage.Invitation, error) {
		i, err := m.InviteAccount(f.t.Context(), a.ID, "/console/")
		return i.Invitation, err
	})
}

// operatorBrowser returns a browser of an operator.
func (f *fixture) operatorBrowser(name string) *browser {
	f.t.Helper()
	return f.setUp(func(m *manage.Manager) (manage.Invitation, error) {
		i, err := m.InviteOperator(f.t.Context(), name, "/console/")
		return i.Invitation, err
	})
}

// issue issues a key by the form, and returns its secret.
func (b *browser) issue(fields ...string) string {
	b.f.t.Helper()
	fields = append([]string{"expires", "period", "count", "30", "unit", "d"}, fields...)
	check := b.want(b.post("keys/new", append(fields, "step", "check")...), 200, "Issue the key")
	once := regexp.MustCompile(`name="once" value="([^"]+)"`).FindStringSubmatch(check.body)
	if once == nil {
		b.f.t.Fatalf("no token in\n%s", check.body)
	}
	issued := b.want(b.post("keys/new", append(fields, "step", "issue", "once", once[1])...), 200)
	secret := regexp.MustCompile(`id="secret">(sgk_[0-9A-Za-z]+)<`).FindStringSubmatch(issued.body)
	if secret == nil {
		b.f.t.Fatalf("no key in\n%s", issued.body)
	}
	return secret[1]
}
