package e2e_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// consoleTab is a tab of a browser at the console of a gateway.
type consoleTab struct {
	t   *testing.T
	ctx context.Context
}

// newConsoleTab starts a browser.
func newConsoleTab(t *testing.T) *consoleTab {
	t.Helper()
	browser := tool(t, "chromium", "chromium-browser", "google-chrome")
	home, err := os.MkdirTemp("", "speechgate-browser-") //nolint:usetesting // a process that still writes to it is no failure
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(home),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("lang", "en"))
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	ctx, timeout := context.WithTimeout(ctx, 5*time.Minute) // only a browser that hangs takes so long
	t.Cleanup(func() {
		timeout()
		cancel()
		stop()
		_ = os.RemoveAll(home)
	})
	return &consoleTab{t, ctx}
}

func (c *consoleTab) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	if err := chromedp.Do(c.ctx, steps...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *consoleTab) open(address string) { c.t.Helper(); c.do(chromedp.Navigate(address)) }

func (c *consoleTab) fill(field, text string) {
	c.t.Helper()
	c.do(chromedp.SetValue(chromedp.CSS(field), text))
}

// submit clicks a button that leads to a page with an element.
func (c *consoleTab) submit(button, until string) {
	c.t.Helper()
	if _, err := chromedp.RunResponse(c.ctx, chromedp.Click(chromedp.CSS(button))); err != nil {
		c.t.Fatal(err)
	}
	c.do(chromedp.WaitReady(chromedp.CSS(until)))
}

func (c *consoleTab) text(element string) string {
	c.t.Helper()
	text, err := chromedp.Run(c.ctx, chromedp.Text(chromedp.CSS(element)))
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

// issue fills in the form of a new key, and returns the key.
func (c *consoleTab) issue(base string, fill func()) (secret string) {
	c.t.Helper()
	c.open(base + "/console/keys/new")
	fill()
	c.submit("form > p button.main", "button[value=issue]")
	c.submit("button[value=issue]", "#secret")
	return c.text("#secret")
}

// TestConsole_AKeyIsIssuedUsedAndDeleted holds that what the pages issue is what the gate lets
// through, with a real browser in front of the whole program.
func TestConsole_AKeyIsIssuedUsedAndDeleted(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	c := newConsoleTab(t)
	p := newProgram(t, strings.Replace(string(example), "\tspeechgate_issue {", "\tspeechgate_console\n\tspeechgate_issue {", 1))
	p.start()
	account := p.importAccount()
	invitation := p.run("account", "invite", account, "--config", p.config)
	link, _ := invitation["setup_url"].(string)
	if !strings.HasPrefix(link, p.base+"/console/setup/sgi_") || invitation["account_id"] != account {
		t.Fatalf("the invitation is %v", invitation)
	}
	const password = "a password of the test"
	c.open(link)
	c.fill("#password", password)
	c.fill("#repeat", password)
	c.submit("main button", ".facts")
	if got := c.text("#sid"); got != serviceID {
		t.Errorf("the page shows the service ID %q", got)
	}

	allowed := func(secret string) bool {
		_, answer := p.post("/v1/recognize", secret)
		return answer["code"] == ""
	}
	secrets := map[string]string{
		"a period": c.issue(p.base, func() {
			c.fill("input[name=count]", "2")
			c.do(chromedp.SetValue(chromedp.CSS("select[name=unit]"), "h"))
		}),
		"a date": c.issue(p.base, func() {
			c.do(chromedp.Click(chromedp.CSS("#by-date")))
			c.fill("input[name=date]", time.Now().AddDate(0, 0, 3).Format(time.DateOnly))
		}),
		"no expiry, and the own address by one click": c.issue(p.base, func() {
			c.do(chromedp.Click(chromedp.CSS("#by-never")), chromedp.Click(chromedp.CSS("button[value=allow-me]")), chromedp.WaitVisible(chromedp.CSS("#allow-check code")))
		}),
		"a block, a range and an address": c.issue(p.base, func() { c.fill("#allow", "192.0.2.0/24\n127.0.0.1-127.0.0.9\n2001:db8::7") }),
	}
	for name, secret := range secrets {
		if !allowed(secret) {
			t.Errorf("the gate refuses the key with %s", name)
		}
	}
	foreign := c.issue(p.base, func() { c.fill("#allow", "192.0.2.1") })
	if allowed(foreign) {
		t.Error("the gate lets a key through that is for another address")
	}

	keys := p.runList("key", "list", "--account", account)
	if len(keys) != len(secrets)+1 {
		t.Fatalf("there are %d keys", len(keys))
	}
	oldest, _ := keys[0]["key_id"].(string)
	c.open(p.base + "/console/keys/" + oldest)
	c.do(chromedp.Click(chromedp.CSS("#delete summary")), chromedp.WaitVisible(chromedp.CSS("#delete form button")))
	c.submit("#delete form button", ".notice.good")
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
		c.open(p.base + "/console/keys/" + key["key_id"].(string))
		if got := c.text("#delete"); !strings.Contains(got, why) || strings.Contains(got, "Yes, delete it") {
			t.Errorf("for a key of origin %s the page says %q", key["origin"], got)
		}
	}

	c.submit(".tools form:last-child button", "#password")
	c.fill("#name", serviceID)
	c.fill("#password", password)
	c.submit("main button", ".facts")
	_, token, _ := strings.Cut(link, "/setup/")
	p.kept(token, password, foreign, secrets["a date"])
	if !strings.Contains(p.output.String(), "/console/setup/REDACTED") {
		t.Error("the access log has no line for the set-up link: the test tests nothing")
	}
}
