package e2e_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/speechgate/speechgate/internal/browsertest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// consoleTab is a tab of a browser at the console of a gateway.
type consoleTab struct{ *browsertest.Tab }

// issue fills in the form of a new key, and returns the key.
func (c consoleTab) issue(base string, fill func()) (secret string) {
	c.Open(base + "/console/keys/new")
	fill()
	c.Submit("form > p button.main", "button[value=issue]")
	c.Submit("button[value=issue]", "#secret")
	return c.Text("#secret")
}

// TestConsole_AKeyIsIssuedUsedAndDeleted holds that what the pages issue is what the gate lets
// through, with a real browser in front of the whole program.
func TestConsole_AKeyIsIssuedUsedAndDeleted(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	c := consoleTab{browsertest.Start(t).Tab(t)}
	p := newProgram(t, strings.Replace(string(example), "\tspeechgate_issue {", "\tspeechgate_console\n\tspeechgate_issue {", 1))
	p.start()
	account := p.importAccount()
	invitation := p.run("account", "invite", account, "--config", p.config)
	link, _ := invitation["setup_url"].(string)
	if !strings.HasPrefix(link, p.base+"/console/setup/sgi_") || invitation["account_id"] != account {
		t.Fatalf("the invitation is %v", invitation)
	}
	const password = "a password of the test"
	c.Open(link)
	c.Fill("#password", password)
	c.Fill("#repeat", password)
	c.Submit("main button", ".facts")
	if got := c.Text("#sid"); got != serviceID {
		t.Errorf("the page shows the service ID %q", got)
	}

	allowed := func(secret string) bool {
		_, answer := p.post("/v1/recognize", secret)
		return answer["code"] == ""
	}
	secrets := map[string]string{
		"a period": c.issue(p.base, func() {
			c.Fill("input[name=count]", "2")
			c.Do(chromedp.SetValue(chromedp.CSS("select[name=unit]"), "h"))
		}),
		"a date": c.issue(p.base, func() {
			c.Do(chromedp.Click(chromedp.CSS("#by-date")))
			c.Fill("input[name=date]", time.Now().AddDate(0, 0, 3).Format(time.DateOnly))
		}),
		"no expiry, and the own address by one click": c.issue(p.base, func() {
			c.Do(chromedp.Click(chromedp.CSS("#by-never")), chromedp.Click(chromedp.CSS("button[value=allow-me]")), chromedp.WaitVisible(chromedp.CSS("#allow-check code")))
		}),
		"a block, a range and an address": c.issue(p.base, func() { c.Fill("#allow", "192.0.2.0/24\n127.0.0.1-127.0.0.9\n2001:db8::7") }),
	}
	for name, secret := range secrets {
		if !allowed(secret) {
			t.Errorf("the gate refuses the key with %s", name)
		}
	}
	foreign := c.issue(p.base, func() { c.Fill("#allow", "192.0.2.1") })
	if allowed(foreign) {
		t.Error("the gate lets a key through that is for another address")
	}

	keys := p.runList("key", "list", "--account", account)
	if len(keys) != len(secrets)+1 {
		t.Fatalf("there are %d keys", len(keys))
	}
	oldest, _ := keys[0]["key_id"].(string)
	c.Open(p.base + "/console/keys/" + oldest)
	c.Do(chromedp.Click(chromedp.CSS("#delete summary")), chromedp.WaitVisible(chromedp.CSS("#delete form button")))
	c.Submit("#delete form button", ".notice.good")
	if allowed(secrets["a period"]) {
		t.Error("the gate lets a deleted key through")
	}

	// Keys of other origins have no button, and the page says why.
	_, _, err = p.openStore().IssueKey(t.Context(), policy.At(time.Now()), keystore.Actor{Kind: keystore.ActorOperator, ID: "test"},
		keystore.NewKey{AccountID: account, Origin: policy.OriginInitial, Expires: policy.Never()})
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.PostForm(p.base+issuancePath, url.Values{"sid": {serviceID}, "spw": {servicePassword}, "epi": {"600000"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	for _, key := range p.runList("key", "list", "--account", account) {
		why := map[string]string{"api": "issuance API", "initial": "came with the account"}[key["origin"].(string)]
		if why == "" {
			continue
		}
		c.Open(p.base + "/console/keys/" + key["key_id"].(string))
		if got := c.Text("#delete"); !strings.Contains(got, why) || strings.Contains(got, "Yes, delete it") {
			t.Errorf("for a key of origin %s the page says %q", key["origin"], got)
		}
	}

	c.Submit(".tools form:last-child button", "#password")
	c.Fill("#name", serviceID)
	c.Fill("#password", password)
	c.Submit("main button", ".facts")
	_, token, _ := strings.Cut(link, "/setup/")
	p.kept(token, password, foreign, secrets["a date"])
	if log := p.output.String(); strings.Contains(log, "/console/setup/") || !strings.Contains(log, `"uri":"/console/keys/new"`) {
		t.Error("the access log has a line for the set-up link, or has no lines")
	}
}
