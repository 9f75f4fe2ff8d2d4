package console

import (
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/policy"
)

func TestHolder_SetsAPasswordAndIssuesAKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	b.want(b.get(""), 200, a.ServiceID, "Example Corp.")
	b.want(b.get("keys"), 200, "no keys yet")
	b.want(b.get("keys/new"), 200, "You are calling from 192.0.2.7, via 198.51.100.1.")
	secret := b.issue("label", "<b>first</b>", "allow", "192.0.2.0/24\n2001:db8::/32")
	record, err := f.store.FindKey(t.Context(), policy.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	k := record.Key()
	if k.AccountID != a.ID || k.Allow.String() != "192.0.2.0/24,2001:db8::/32" {
		t.Errorf("the key is %+v", k)
	}
	b.want(b.get("keys"), 200, "&lt;b&gt;first&lt;/b&gt;", "192.0.2.0/24")
	b.want(b.get("keys/"+k.ID), 200, k.ID, "in 30 days")
	b.wantRedirect(b.post("keys/"+k.ID+"/delete"), "keys?done=key-deleted")
	b.want(b.get("keys?done=key-deleted"), 200, "The key is deleted", "deleted")
	b.want(b.get("jobs"), 200, "no recorded jobs")
	b.want(b.get("settings"), 200, "data:image/png;base64,")
	b.wantRedirect(b.post("sign-out"), "sign-in?done=signed-out")
	b.wantRedirect(b.get("keys"), "sign-in?next=keys")
}

func TestSession_EndsWithoutRequestsAndAtTheLatestAfterTwelveHours(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	f.advance(signin.Idle - time.Second)
	b.want(b.get("keys"), 200)
	f.advance(signin.Idle)
	b.wantRedirect(b.get("keys"), "sign-in?next=keys")
	b = f.operatorBrowser("tanaka")
	for range 12*2 + 1 {
		b.want(b.get(""), 200, "tanaka")
		f.advance(signin.Idle - time.Minute)
	}
	b.wantRedirect(b.get(""), "sign-in")
}

func TestKeys_AreSearchedSortedAndPaged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	for i := range rowsPerPage + 10 {
		label := fmt.Sprintf("server %02d", i)
		if _, err := f.operator().IssueKey(t.Context(), manage.NewKey{AccountID: a.ID, Label: label, Expires: fmt.Sprintf("%dh", 200-i)}); err != nil {
			t.Fatal(err)
		}
		f.advance(time.Second)
	}
	labels := func(path string) []string {
		page := b.want(b.get(path), 200)
		return regexp.MustCompile(`server \d\d`).FindAllString(page.body, -1)
	}
	for path, want := range map[string][2]string{
		"keys":                         {"server 59", "server 10"},
		"keys?sort=issued&reverse=yes": {"server 00", "server 49"},
		"keys?sort=label":              {"server 00", "server 49"},
		"keys?sort=label&reverse=yes":  {"server 59", "server 10"},
		"keys?sort=expiry":             {"server 59", "server 10"},
		"keys?search=server 4":         {"server 40", "server 49"},
		"keys?search=server 4&sort=expiry&reverse=yes": {"server 40", "server 49"},
		"keys?status=active&origin=api":                {"", ""},
	} {
		path = strings.ReplaceAll(path, " ", "+")
		got := labels(path)
		if len(got) == 0 {
			got = []string{""}
		}
		if got[0] != want[0] || got[len(got)-1] != want[1] {
			t.Errorf("%s: from %q to %q, want from %q to %q", path, got[0], got[len(got)-1], want[0], want[1])
		}
	}
	b.want(b.get("keys?sort=label&reverse=yes"), 200, `name="sort" value="label"`, `name="reverse" value="yes"`) // the filters keep the order
	page := b.want(b.get("keys"), 200, `aria-sort="descending"`)
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(page.body)
	if next == nil {
		t.Fatalf("there is no next part in\n%s", page.body)
	}
	if got := labels(html.UnescapeString(next[1])); len(got) != 10 || got[0] != "server 09" {
		t.Errorf("the next part is %q", got)
	}
	b.want(b.get("keys?sort=color"), http.StatusBadRequest, "want ")
	b.want(b.get("keys?cursor=x"), http.StatusBadRequest)
}

func TestExplain_SaysWhyAKeyIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	key, err := f.operator().IssueKey(t.Context(), manage.NewKey{AccountID: a.ID, Expires: "never", Allow: []string{"203.0.113.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	b.want(b.get("explain?key="+key.ID), 200, `value="`+key.ID+`"`, `value="192.0.2.7"`)
	got := b.want(b.post("explain", "key", key.Secret.Reveal(), "client-ip", "192.0.2.7", "method", "POST", "path", "/v1/recognize", "dialect", "amivoice"), 200, "address_refused", "/console/keys/"+key.ID)
	if strings.Contains(got.body, key.Secret.Reveal()) {
		t.Error("the page repeats the key")
	}
}

// A form that is sent twice issues one key, and shows it once.
func TestNewKey_AFormWorksOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	b := f.holder(a)
	form := []string{"expires", "never", "label", "one", "step", "issue", "once", "a-token"}
	b.want(b.post("keys/new", form...), 200, "sgk_")
	again := b.want(b.post("keys/new", form...), 200, "sent before")
	if strings.Contains(again.body, "sgk_") {
		t.Error("the key is shown again")
	}
	other := f.holder(f.account("Other"))
	other.want(other.post("keys/new", form...), 200, "sgk_")
	changed := b.want(b.post("keys/new", "expires", "never", "label", "two", "step", "issue", "once", "a-token"), 409, "Send it again", `name="label" value="two"`)
	fresh := regexp.MustCompile(`name="once" value="([^"]+)"`).FindStringSubmatch(changed.body)
	b.want(b.post("keys/new", "expires", "never", "label", "two", "step", "issue", "once", fresh[1]), 200, "sgk_")
	keys, err := f.operator().Keys(t.Context(), manage.KeyQuery{AccountID: a.ID})
	if err != nil || len(keys.Items) != 2 {
		t.Errorf("%d keys, %v", len(keys.Items), err)
	}
}

// Without a script, the button that allows the own address adds it once, beside whatever is there.
func TestNewKey_TheOwnAddressIsAddedByOneClick(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	for before, want := range map[string]string{
		"":                         "192.0.2.7",
		"192.0.2.0/24":             "192.0.2.0/24\n192.0.2.7",
		"192.0.2.70":               "192.0.2.70\n192.0.2.7",
		"192.0.2.7-192.0.2.9":      "192.0.2.7-192.0.2.9\n192.0.2.7",
		" 192.0.2.7 \r\n192.0.2.8": "192.0.2.7 \r\n192.0.2.8",
	} {
		page := b.want(b.post("keys/new", "allow", before, "step", "allow-me"), 200)
		found := regexp.MustCompile(`(?s)name="allow"[^>]*>(.*?)</textarea>`).FindStringSubmatch(page.body)
		if found == nil || found[1] != want {
			t.Errorf("with %q the field becomes %q, want %q", before, found, want)
		}
	}
}

func TestNewKey_MistakesComeBackWithTheForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	for name, test := range map[string]struct {
		fields []string
		want   string
	}{
		"no number":       {[]string{"expires", "period", "count", "", "unit", "d"}, "expires"},
		"a negative span": {[]string{"expires", "period", "count", "-1", "unit", "d"}, "negative"},
		"a past date":     {[]string{"expires", "date", "date", "2020-01-01"}, "past"},
		"no date":         {[]string{"expires", "date", "date", ""}, "expires"},
		"host bits":       {[]string{"expires", "never", "allow", "192.0.2.7/24"}, "192.0.2.7/24"},
		"no address":      {[]string{"expires", "never", "allow", "localhost"}, "localhost"},
		"a limit of 0":    {[]string{"expires", "never", "requests", "0"}, "requests=0/m"},
		"an operation":    {[]string{"expires", "never", "operations", "fly"}, "fly"},
		"a long label":    {[]string{"expires", "never", "label", strings.Repeat("x", 201)}, "201 bytes"},
		"a secret":        {[]string{"expires", "never", "label", "sgk_WlEOrkqSW13NMWzqrYMlvQfppaGj2gCW04YSOA"}, "secret"},
	} {
		got := b.want(b.post("keys/new", append(test.fields, "step", "issue", "once", name)...), http.StatusUnprocessableEntity, `role="alert"`)
		if !strings.Contains(html.UnescapeString(got.body), test.want) {
			t.Errorf("%s: want %q in\n%s", name, test.want, got.body)
		}
	}
	if keys, err := f.operator().Keys(t.Context(), manage.KeyQuery{}); err != nil || len(keys.Items) != 0 {
		t.Errorf("%d keys were issued, %v", len(keys.Items), err)
	}
	check := b.want(b.post("keys/new", "expires", "never", "allow", "0.0.0.0/0", "issuable", "yes", "operations", "stream", "requests", "60", "audio-day", "90", "step", "check"), 200,
		"allows all IPv4 addresses", "can issue further keys", "Operations: stream.", "At most 60 requests a minute.", "At most 90 minutes of audio a day (UTC).", "4,294,967,296 addresses")
	if strings.Contains(check.body, "sgk_") {
		t.Error("the key was issued without a confirmation")
	}
}
