package console

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/manage"
)

// fill fills the places in a path.
func fill(path, id string) string {
	return strings.NewReplacer("{id}", id, "{token}", "sgi_none").Replace(path)
}

// anyForm has every field of every form, so that a form that is not refused would do something.
func anyForm() url.Values {
	return url.Values{
		"step": {"issue"}, "once": {"once"}, "expires": {"never"}, "label": {"changed"}, "allow": {"192.0.2.1"}, "reason": {"why"}, "confirm": {"yes"},
		"current": {aPassword}, "password": {aPassword + " 2"}, "repeat": {aPassword + " 2"}, "name": {"changed"},
		"answer": {"{}"}, "passkey": {"AA"},
	}
}

// state is all that a form could change.
func (f *fixture) state() string {
	f.t.Helper()
	var out strings.Builder
	m := f.operator()
	keys, err := m.Keys(f.t.Context(), manage.KeyQuery{})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, k := range keys.Items {
		out.WriteString(k.ID + k.Label + k.Status + "\n")
	}
	accounts, err := m.Accounts(f.t.Context(), manage.AccountQuery{})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, a := range accounts.Items {
		out.WriteString(a.ID + a.Name + a.Status + a.ServiceID + strings.Join(a.Limits, " ") + "\n")
		user, err := f.store.ConsoleUser(f.t.Context(), "account", a.ID)
		if err == nil {
			out.WriteString(user.PasswordHash + user.SecondFactor.Reveal() + strconv.Itoa(user.Passkeys) + "\n")
		}
	}
	return out.String()
}

// Every route is tried without a session, with a session that lacks the second factor, with one
// of the other kind of users, with one of another account, and from another site.
func TestRoutes_AreClosedToEveryoneElse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, foreign := f.account("Mine"), f.account("Foreign")
	holder, other, operator := f.holder(a), f.holder(foreign), f.operatorBrowser("tanaka")
	halfAccount := f.account("Half")
	f.holder(halfAccount).addSecond()
	half := f.browser()
	half.signIn(halfAccount.ServiceID, aPassword)
	key, err := f.operator().IssueKey(t.Context(), manage.NewKey{AccountID: a.ID, Expires: "never", Label: "mine-only"})
	if err != nil {
		t.Fatal(err)
	}
	before := f.state()
	form := func(rt route) url.Values {
		if rt.method == http.MethodGet {
			return nil
		}
		return anyForm()
	}
	unchanged := func(rt route, who string) {
		t.Helper()
		if after := f.state(); after != before {
			t.Fatalf("%s %s as %s has changed\n%s\ninto\n%s", rt.method, rt.path, who, before, after)
		}
	}
	for _, rt := range routes() {
		path := fill(rt.path, key.ID)
		if rt.access == nobody {
			t.Errorf("%s %s is for nobody", rt.method, rt.path)
		}
		if rt.access == everyone {
			continue // the tests of sign-in and set-up are about these
		}
		got := f.browser().send(rt.method, path, form(rt))
		if got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/console/sign-in") {
			t.Errorf("%s %s without a session: %d to %q", rt.method, rt.path, got.status, got.header.Get("Location"))
		}
		unchanged(rt, "nobody")
		if rt.access != halfway {
			got = half.send(rt.method, path, form(rt))
			if got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/console/code") {
				t.Errorf("%s %s without the second factor: %d to %q", rt.method, rt.path, got.status, got.header.Get("Location"))
			}
			unchanged(rt, "half a user")
		}
		for who, b := range map[string]*browser{"a holder": holder, "an operator": operator} {
			closed := rt.access == holders && b == operator || (rt.access == operators || rt.access == watchers) && b == holder
			if !closed {
				continue
			}
			if got := b.send(rt.method, path, form(rt)); got.status != http.StatusNotFound {
				t.Errorf("%s %s as %s: status %d, want 404", rt.method, rt.path, who, got.status)
			}
			unchanged(rt, who)
		}
		if strings.Contains(rt.path, "{id}") && rt.access == holders {
			absent := other.send(rt.method, fill(rt.path, "key_12345678901234567890"), form(rt))
			got := other.send(rt.method, path, form(rt))
			if got.status != http.StatusNotFound || strings.Contains(got.body, "mine-only") || absent.status != got.status {
				t.Errorf("%s %s of another account: status %d, and %d for one that does not exist", rt.method, rt.path, got.status, absent.status)
			}
			for _, id := range []string{"key_", "..%2f..", "%00", a.ID, "acc_1", "key_' OR 1=1 --", key.ID + "%20", strings.Repeat("x", 3000)} {
				if got := other.send(rt.method, fill(rt.path, url.PathEscape(id)), form(rt)); got.status != http.StatusNotFound && got.status != http.StatusSeeOther {
					t.Errorf("%s %s with the ID %.30q: status %d", rt.method, rt.path, id, got.status)
				}
			}
			unchanged(rt, "another account")
		}
	}
	for _, rt := range routes() {
		if rt.method == http.MethodGet {
			continue
		}
		for name, header := range map[string]http.Header{
			"cross-site":     {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
			"same-site":      {"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://other.example.com"}},
			"an old browser": {"Origin": {"https://evil.example"}},
			"no origin":      {"Origin": {"null"}},
		} {
			for _, b := range []*browser{holder, operator} {
				own := b.header
				b.header = header
				if got := b.send(rt.method, fill(rt.path, key.ID), anyForm()); got.status != http.StatusForbidden {
					t.Errorf("%s %s from %s: status %d, want 403", rt.method, rt.path, name, got.status)
				}
				b.header = own
			}
			unchanged(rt, name)
		}
	}
	holder.want(holder.get("keys/"+key.ID), 200, "mine-only")
	other.want(other.get("keys?search=mine-only"), 200, "No key matches")
	if got := other.get("jobs?key=" + key.ID); got.status != http.StatusNotFound {
		t.Errorf("jobs of a key of another account: status %d", got.status)
	}
}

func TestRoutes_EveryAnswerHasTheProtectingHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	for _, path := range []string{"", "keys", "keys/new", "settings", "jobs", "nothing", "sign-in", "setup/sgi_none"} {
		for who, b := range map[string]*browser{"a holder": b, "nobody": f.browser()} {
			got := b.get(path)
			for name, want := range map[string]string{
				"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin",
			} {
				if got.header.Get(name) != want {
					t.Errorf("%q for %s: %s is %q", path, who, name, got.header.Get(name))
				}
			}
			if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%q for %s: the policy is %q", path, who, csp)
			}
			if strings.Contains(got.body, " style=") || strings.Contains(got.body, "<script>") || strings.Contains(got.body, "onclick") {
				t.Errorf("%q for %s has something inline", path, who)
			}
		}
	}
}

// Where the sign-in leads to is a page of the console, whatever a link says.
func TestSignIn_LeadsToNoOtherSite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	f.holder(a)
	for _, next := range []string{"//evil.example", "https://evil.example", "/\\evil.example", "../evil", "keys/..//evil.example", "\\evil", "keys?x=1", "keys\r\nX: y", "javascript:alert(1)", "."} {
		b := f.browser()
		b.wantRedirect(b.post("sign-in", "name", a.ServiceID, "password", aPassword, "next", next), "")
		b.wantRedirect(b.post("preferences", "lang", "ja", "next", next), "")
	}
}

// The first page has at most 100 KB, with all that it loads.
func TestPages_TheFirstLoadIsSmall(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	for _, path := range []string{"sign-in", "", "keys", "keys/new", "settings"} {
		reader := b
		if path == "sign-in" {
			reader = f.browser()
		}
		page := b.want(reader.get(path), 200)
		size := len(page.body)
		links := regexp.MustCompile(`"(/console/assets/[^"]+)"`).FindAllStringSubmatch(page.body, -1)
		if len(links) < 3 || len(links) > 4 {
			t.Errorf("%q loads %q", path, links)
		}
		for _, link := range links {
			asset := b.want(b.get(link[1]), 200)
			if !strings.Contains(asset.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: Cache-Control is %q", link[1], asset.header.Get("Cache-Control"))
			}
			size += len(asset.body)
		}
		if size > 100_000 {
			t.Errorf("%q loads %d bytes", path, size)
		}
	}
	b.want(b.get("assets/0000/console.css"), 404)

	// A browser loads the files once, also over TLS, and whatever cookies it gets later.
	f.https.Store(true)
	page := b.want(b.get("sign-in"), 200)
	asset := b.want(b.get(regexp.MustCompile(`"(/console/assets/[^"]+)"`).FindStringSubmatch(page.body)[1]), 200)
	if vary := asset.header.Get("Vary"); vary != "" {
		t.Errorf("a file varies with %s", vary)
	}
}

// untouched is a body that nobody may read.
type untouched struct{ t *testing.T }

func (u untouched) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

// A form with files in a GET would be read without a limit, and put on the disk.
func TestRoutes_ReadNoBodyOfAGET(t *testing.T) {
	t.Parallel()
	f, _ := newProviderFixture(t)
	half := f.browser()
	a := f.account("Half")
	f.holder(a).addSecond()
	half.signIn(a.ServiceID, aPassword)
	for _, rt := range routes() {
		if rt.method != http.MethodGet || rt.access != everyone && rt.access != halfway {
			continue
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			t.Run(method+" "+rt.path, func(t *testing.T) {
				t.Parallel()
				r := httptest.NewRequestWithContext(t.Context(), method, f.server.URL+"/console/"+fill(rt.path, ""), untouched{t})
				r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
				for _, cookie := range half.Jar.Cookies(r.URL) {
					r.AddCookie(cookie)
				}
				f.console.Serve(httptest.NewRecorder(), r, Caller{})
			})
		}
	}
}
