package console

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/speechgate/speechgate/internal/browsertest"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// look is how a reader sees the pages.
type look struct {
	lang, theme string
	width       int64
	script      bool
}

func (l look) String() string {
	script := "script"
	if !l.script {
		script = "noscript"
	}
	return fmt.Sprintf("%s-%s-%d-%s", l.lang, l.theme, l.width, script)
}

// looks returns the looks that a test goes through: both languages and themes, a wide screen and a phone,
// and without a script. With the race detector, looks leaves out the two that differ from the first one in
// language, theme and width only. The race detector would see nothing new, and the tests without it check
// all four.
func looks() []look {
	first, last := look{"en", "light", 1280, true}, look{"en", "dark", 390, false}
	if withRace {
		return []look{first, last}
	}
	return []look{first, {"ja", "dark", 1280, true}, {"ja", "light", 390, true}, last}
}

// tab is a tab of a browser at the console.
type tab struct {
	*browsertest.Tab

	t      *testing.T
	f      *fixture
	look   look
	axe    string // the text of axe-core
	folder string // of the screenshots
}

// inEveryLook runs a test in all looks, each with a console of its own.
func inEveryLook(t *testing.T, test func(t *testing.T, b *tab)) {
	t.Helper()
	inLooks(t, looks(), test)
}

// inLooks does what inEveryLook does, in some looks. The screenshots go to the folder of the variable
// SPEECHGATE_SCREENSHOTS, or to a folder that goes with the test.
func inLooks(t *testing.T, looks []look, test func(t *testing.T, b *tab)) {
	t.Helper()
	axe, err := os.ReadFile("../../e2e/sdk/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		testutil.Needed(t, "axe-core: run npm ci in e2e/sdk/axe")
	}
	folder := os.Getenv("SPEECHGATE_SCREENSHOTS")
	if folder == "" {
		folder = t.TempDir()
	}
	browser := browsertest.Start(t)
	for _, l := range looks {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			b := &tab{Tab: browser.Tab(t), t: t, f: newFixture(t), look: l, axe: string(axe), folder: folder}
			b.Do(chromedp.EmulateViewport(l.width, 900))
			command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: l.theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
			}})
			command(b, network.Enable, network.EnableParams{})
			command(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": l.lang}})
			command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.script})
			test(t, b)
		})
	}
}

// command calls a command of the protocol.
func command[P, R any](b *tab, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.Context, c, params)
	if err != nil {
		b.t.Fatalf("%s: %v", c.Method, err)
	}
	return result
}

// open opens a page of the console, at a host name for which browsers have passkeys.
func (b *tab) open(path string) {
	b.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/console/" + path
	}
	b.Open(strings.Replace(b.f.server.URL, "127.0.0.1", "localhost", 1) + path)
}

// seen takes a picture of the page, and checks it: axe-core must find nothing that matters, and
// the browser must have reported nothing.
func (b *tab) seen(name string) {
	b.t.Helper()
	picture := browsertest.Result(b.Tab, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(b.folder, name+"-"+b.look.String()+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
	if told := b.Told(); len(told) > 0 && name != "not-found" { // the browser reports the status 404
		b.t.Errorf("%s: the browser reports %s", name, strings.Join(told, "; "))
	}
	if wide := browsertest.Result(b.Tab, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > b.look.width {
		b.t.Errorf("%s is %d pixels wide", name, wide)
	}
	if cut := browsertest.Result(b.Tab, chromedp.Evaluate[int64](`[...document.querySelectorAll(".table")].filter(t => t.scrollWidth > t.clientWidth).length`)); cut > 0 && b.look.width >= 1280 {
		b.t.Errorf("%s: %d tables are wider than the page", name, cut)
	}
	if !b.look.script {
		return // axe-core needs timers, which the page has not
	}
	if found := browsertest.Result(b.Tab, chromedp.Evaluate[string](b.axe+accessCheck, chromedp.EvalAwaitPromise)); found != "[]" {
		b.t.Errorf("%s: axe-core finds %s", name, found)
	}
}

// accessCheck runs axe-core.
const accessCheck = `;
axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations
	.filter(v => ["moderate", "serious", "critical"].includes(v.impact))
	.map(v => v.impact + " " + v.id + ": " + v.help + ": " + v.nodes.map(n => n.html.slice(0, 200) + " " + (n.any[0]?.message ?? "")).join(" | "))))`

// TestBrowser_AHolderDoesEverything does what the holder of an account can do.
func TestBrowser_AHolderDoesEverything(t *testing.T) {
	t.Parallel()
	inEveryLook(t, func(t *testing.T, b *tab) {
		f := b.f
		a := f.account("株式会社サンプル")
		invitation, err := f.operator().InviteAccount(t.Context(), a.ID, "/console/")
		if err != nil {
			t.Fatal(err)
		}
		b.open("keys")
		b.seen("sign-in")
		b.open(invitation.SetupURL.Reveal())
		b.seen("setup")
		b.Fill("#password", aPassword)
		b.Fill("#repeat", aPassword)
		b.Submit("main button", ".facts")
		b.seen("start")

		b.open("keys")
		b.seen("no-keys")
		b.open("keys/new")
		b.Fill("#label", "受付サーバー 1")
		b.Do(chromedp.SendKeys(chromedp.CSS("#allow"), "192.0.2.0/24\n2001:db8::/32"))
		if b.look.script {
			b.Do(chromedp.WaitVisible(chromedp.CSS("#allow-check meter")))
		}
		b.seen("new-key")
		b.Submit(".stack p button.main", "button[value=issue]")
		b.seen("check-key")
		b.Submit("button[value=issue]", "#secret")
		b.seen("issued")
		secret := b.Text("#secret")
		record, err := f.store.FindKey(t.Context(), policy.NewSecret(secret))
		if err != nil {
			t.Fatalf("the page shows the key %.4s…: %v", secret, err)
		}
		key := record.Key()
		for _, n := range []manage.NewKey{
			{Label: "夜間バッチ", Expires: "never", Limits: []string{"requests=60/m", "operations=create_job"}},
			{Label: "a label that is long enough to need more than one line in the table of the keys", Expires: "10m", Issuable: true, Allow: []string{"198.51.100.7", "203.0.113.0/24", "2001:db8:1::1-2001:db8:1::ff", "192.0.2.9"}},
		} {
			n.AccountID = a.ID
			if _, err := f.operator().IssueKey(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		b.open("keys")
		b.seen("keys")
		b.open("keys/" + key.ID)
		b.seen("key")
		b.Do(chromedp.Click(chromedp.CSS("#delete summary")), chromedp.WaitVisible(chromedp.CSS("#delete form button")))
		b.Submit("#delete form button", ".table")
		b.seen("keys-deleted")
		if k, err := f.store.Key(t.Context(), key.ID); err != nil || k.DeletedAt.IsZero() {
			t.Errorf("the key is not deleted: %+v, %v", k, err)
		}
		b.open("jobs")
		b.seen("jobs")

		b.open("settings")
		b.seen("settings")
		code, err := totp.GenerateCode(b.Text("#totp"), f.Now().Std())
		if err != nil {
			t.Fatal(err)
		}
		b.Fill("#code", code)
		b.Fill("#second-password", aPassword)
		b.Submit("#second form button", "#codes")
		recovery := strings.Fields(b.Text("#codes"))
		b.seen("recovery")
		b.Submit("main .button.main", "#second details")
		b.seen("settings-second")
		b.Do(chromedp.Click(chromedp.CSS(".tools form:last-child button")), chromedp.WaitReady(chromedp.CSS("#name")))
		b.Fill("#name", a.ServiceID)
		b.Fill("#password", aPassword)
		b.Submit("main button", "#code")
		b.seen("code")
		b.Fill("#code", recovery[0])
		b.Submit("main button", ".facts")
		b.open("nothing")
		b.seen("not-found")
	})
}
