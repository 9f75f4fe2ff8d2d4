package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

// needed fails a test that lacks something, if CI is set; otherwise it skips the test.
func needed(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s, and with CI set there must be", what)
	}
	t.Skipf("there is no %s", what)
}

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

// tab is a tab of a browser.
type tab struct {
	t      *testing.T
	f      *fixture
	ctx    context.Context
	look   look
	axe    string // the text of axe-core
	folder string // of the screenshots
	mu     sync.Mutex
	told   []string // what the browser has reported
}

// newTab starts a browser. The screenshots go to the folder of the variable
// SPEECHGATE_SCREENSHOTS, or to a folder that goes with the test.
func newTab(t *testing.T, f *fixture, l look) *tab {
	t.Helper()
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		needed(t, "Chromium")
	}
	axe, err := os.ReadFile("../../e2e/sdk/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		needed(t, "axe-core: run npm ci in e2e/sdk/axe")
	}
	home, err := os.MkdirTemp("", "speechgate-browser-") //nolint:usetesting // a process that still writes to it is no failure
	if err != nil {
		t.Fatal(err)
	}
	folder := os.Getenv("SPEECHGATE_SCREENSHOTS")
	if folder == "" {
		folder = t.TempDir()
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(home),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("accept-lang", l.lang), chromedp.Env("TZ=Asia/Tokyo"))
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	ctx, timeout := context.WithTimeout(ctx, 5*time.Minute) // only a browser that hangs takes so long
	t.Cleanup(func() {
		timeout()
		cancel()
		stop()
		_ = os.RemoveAll(home)
	})
	b := &tab{t: t, f: f, ctx: ctx, look: l, axe: string(axe), folder: folder}
	b.do(chromedp.EmulateViewport(l.width, 900))
	told := chromedp.Console(ctx)
	go func() {
		for message, err := range told {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.told = append(b.told, fmt.Sprint(message))
			b.mu.Unlock()
		}
	}()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: l.theme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	command(b, emulation.SetEmulatedMedia, media)
	command(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Tokyo"})
	command(b, network.Enable, network.EnableParams{})
	command(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": l.lang}})
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.script})
	return b
}

// command calls a command of the protocol.
func command[P, R any](b *tab, c cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, c, params); err != nil {
		b.t.Fatalf("%s: %s: %v", b.look, c.Method, err)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.fail(err)
	}
}

// fail ends the test, and shows where the browser is.
func (b *tab) fail(err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), 5*time.Second)
	defer cancel()
	where, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	b.t.Fatalf("%s: %v: at %s:\n%s", b.look, err, where, text)
}

// result runs an action and returns its result.
func result[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.fail(err)
	}
	return v
}

func (b *tab) open(path string) {
	b.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/console/" + path
	}
	b.do(chromedp.Navigate(b.f.server.URL + path))
}

// submit clicks a button that leads to another page, and waits for an element of that page.
func (b *tab) submit(button, until string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(button))); err != nil {
		b.fail(err)
	}
	b.do(chromedp.WaitReady(chromedp.CSS(until)))
}

func (b *tab) fill(field, text string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS(field), text))
}

func (b *tab) text(element string) string {
	b.t.Helper()
	return strings.TrimSpace(result(b, chromedp.Text(chromedp.CSS(element))))
}

// seen takes a picture of the page, and checks it: axe-core must find nothing that matters, and
// the browser must have reported nothing.
func (b *tab) seen(name string) {
	b.t.Helper()
	picture := result(b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(b.folder, name+"-"+b.look.String()+".png"), picture, 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	if len(b.told) > 0 && name != "not-found" { // the browser reports the status 404
		b.t.Errorf("%s of %s: the browser reports %s", name, b.look, strings.Join(b.told, "; "))
	}
	b.told = nil
	b.mu.Unlock()
	if wide := result(b, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > b.look.width {
		b.t.Errorf("%s of %s is %d pixels wide", name, b.look, wide)
	}
	if !b.look.script {
		return // axe-core needs timers, which the page has not
	}
	if found := result(b, chromedp.Evaluate[string](b.axe+accessCheck, chromedp.EvalAwaitPromise)); found != "[]" {
		b.t.Errorf("%s of %s: axe-core finds %s", name, b.look, found)
	}
}

// accessCheck runs axe-core.
const accessCheck = `;
axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations
	.filter(v => ["moderate", "serious", "critical"].includes(v.impact))
	.map(v => v.impact + " " + v.id + ": " + v.help + ": " + v.nodes.map(n => n.html.slice(0, 200) + " " + (n.any[0]?.message ?? "")).join(" | "))))`

// TestBrowser_AHolderDoesEverything does what the holder of an account can do, in both
// languages, both themes, on a wide screen and on a phone, and without a script.
func TestBrowser_AHolderDoesEverything(t *testing.T) {
	t.Parallel()
	for _, l := range looks() {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			a := f.account("株式会社サンプル")
			invitation, err := f.operator().InviteAccount(t.Context(), a.ID, "/console/")
			if err != nil {
				t.Fatal(err)
			}
			b := newTab(t, f, l)
			b.open("keys")
			b.seen("sign-in")
			b.open(invitation.SetupURL.Reveal())
			b.seen("setup")
			b.fill("#password", aPassword)
			b.fill("#repeat", aPassword)
			b.submit("main button", ".facts")
			b.seen("start")

			b.open("keys")
			b.seen("no-keys")
			b.open("keys/new")
			b.fill("#label", "受付サーバー 1")
			b.do(chromedp.SendKeys(chromedp.CSS("#allow"), "192.0.2.0/24\n2001:db8::/32"))
			if l.script {
				b.do(chromedp.WaitVisible(chromedp.CSS("#allow-check meter")))
			}
			b.seen("new-key")
			b.submit(".stack p button.main", "button[value=issue]")
			b.seen("check-key")
			b.submit("button[value=issue]", "#secret")
			b.seen("issued")
			secret := b.text("#secret")
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
			b.do(chromedp.Click(chromedp.CSS("#delete summary")), chromedp.WaitVisible(chromedp.CSS("#delete form button")))
			b.submit("#delete form button", ".table")
			b.seen("keys-deleted")
			if k, err := f.store.Key(t.Context(), key.ID); err != nil || k.DeletedAt.IsZero() {
				t.Errorf("the key is not deleted: %+v, %v", k, err)
			}
			b.open("jobs")
			b.seen("jobs")

			b.open("settings")
			b.seen("settings")
			code, err := totp.GenerateCode(b.text("#totp"), f.Now().Std())
			if err != nil {
				t.Fatal(err)
			}
			b.fill("#code", code)
			b.fill("#second-password", aPassword)
			b.submit("#second form button", "#codes")
			recovery := strings.Fields(b.text("#codes"))
			b.seen("recovery")
			b.submit("main .button.main", "#second details")
			b.seen("settings-second")
			b.do(chromedp.Click(chromedp.CSS(".tools form:last-child button")), chromedp.WaitReady(chromedp.CSS("#name")))
			b.fill("#name", a.ServiceID)
			b.fill("#password", aPassword)
			b.submit("main button", "#code")
			b.seen("code")
			b.fill("#code", recovery[0])
			b.submit("main button", ".facts")
			b.open("nothing")
			b.seen("not-found")
		})
	}
}
