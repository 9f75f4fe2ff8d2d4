package console

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The provider is another site for the browser, which brings no strict cookie from there.
func TestBrowser_AnOperatorSignsInAtAProvider(t *testing.T) {
	t.Parallel()
	inEveryLook(t, func(t *testing.T, b *tab) {
		f, peer := newProviderFixture(t)
		b.f = f
		there := chromedp.Click(chromedp.CSS("a[href*=oidc]"))
		b.open("settings")
		b.seen("sign-in-provider")
		b.Do(there, chromedp.WaitVisible(chromedp.CSS("a.button[href='/console/']")))
		if got := b.Text("main"); !strings.Contains(got, tanaka) {
			t.Errorf("a stranger reads %q", got)
		}
		b.Told() // the browser reports the status 403
		b.seen("provider-stranger")
		b.open(f.inviteOperator(tanaka).SetupURL.Reveal())
		b.seen("setup-provider")
		b.open("settings")
		b.Do(there, chromedp.WaitVisible(chromedp.CSS("#zone-name")))
		if got := b.Text("main"); !strings.Contains(got, peer.URL) {
			t.Errorf("the settings are %q", got)
		}
		b.seen("settings-provider")
		b.open("operator/operators")
		b.seen("operators-provider")
		b.open("")
		b.seen("overview-provider")
	})
}
