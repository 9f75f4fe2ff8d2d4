package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/speechgate/speechgate/internal/browsertest"
)

const (
	dexUser     = "tanaka@example.com"
	dexPassword = "password"
)

// startDex starts dex, a real OpenID Connect provider, with one user. It returns the URL of the
// provider.
func startDex(t *testing.T, redirect, secret string) (issuer string) {
	t.Helper()
	dex := os.Getenv("SPEECHGATE_DEX")
	switch {
	case dex != "":
	case os.Getenv("CI") != "":
		t.Fatal("SPEECHGATE_DEX names no program, and with CI set it must")
	default:
		t.Skip("SPEECHGATE_DEX names no program: CONTRIBUTING.md says how to build it")
	}
	// The console is at localhost, so the provider is another site for the browser.
	addr := "127.0.0.1:" + port(t)
	issuer = "http://" + addr + "/dex"
	config := filepath.Join(t.TempDir(), "dex.yaml")
	err := os.WriteFile(config, []byte(`issuer: `+issuer+`
storage: {type: memory}
web: {http: `+addr+`}
oauth2: {skipApprovalScreen: true}
enablePasswordDB: true
staticPasswords:
  - email: `+dexUser+`
    hash: $2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W
    username: tanaka
    userID: 08a8684b-db88-4b73-90a9-3cd1661f5466
staticClients:
  - id: speechgate
    name: Speechgate
    secret: `+secret+`
    redirectURIs: [`+redirect+`]
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	startNeighbour(t, addr, exec.Command(dex, "serve", config))
	return issuer
}

// An operator who was invited signs in at dex with a real browser, whose strict cookies do not
// come along from another site, and signs out.
func TestConsole_AnOperatorSignsInAtDex(t *testing.T) {
	t.Parallel()
	const secret = "the-secret-of-the-console"
	p := newProgram(t, "")
	issuer := startDex(t, p.base+"/console/oidc/callback", secret)
	site := strings.NewReplacer("ISSUER", issuer, "BASE", p.base).Replace(`{
	admin off
	persist_config off
}
BASE {
	log
	speechgate_console {
		oidc {
			issuer ISSUER
			client_id speechgate
			client_secret {env.OIDC_SECRET}
		}
	}
	speechgate amivoice
	speechgate_sandbox amivoice
}
`)
	if err := os.WriteFile(p.config, []byte(site), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, "OIDC_SECRET="+secret)
	p.start()
	c := browsertest.Start(t).Tab(t)
	signIn := func(until string) {
		t.Helper()
		c.Open(p.base + "/console/operator/health")
		c.Submit("a[href*=oidc]", "#login")
		c.Fill("#login", dexUser)
		c.Fill("#password", dexPassword)
		c.Do(chromedp.Click(chromedp.CSS("#submit-login")), chromedp.WaitVisible(chromedp.CSS(until)))
	}
	signIn("a[href='/console/']")
	if got := c.Text("main"); !strings.Contains(got, "says that you are "+dexUser) {
		t.Errorf("an operator whom nobody has invited: %s", got)
	}
	p.run("operator", "invite", dexUser, "--config", p.config)
	signIn("a[href='/console/settings']")
	c.Do(chromedp.WaitVisible(chromedp.CSS("h1")))
	if got := c.Text("h1"); got != "Health" {
		t.Errorf("the sign-in leads to %q", got)
	}
	c.Open(p.base + "/console/settings")
	if got := c.Text("main"); !strings.Contains(got, "You sign in at "+issuer) {
		t.Errorf("the settings: %s", got)
	}
	c.Submit(".tools form:last-child button", "#password")
	if got := c.Text(".notice.good"); got != "You are signed out." {
		t.Errorf("after the sign-out: %q", got)
	}
	c.Open(p.base + "/console/")
	if got := c.Text("h1"); got != "Sign in" {
		t.Errorf("after the sign-out, the start page is %q", got)
	}
	operators := p.runList("operator", "list", "--config", p.config)
	if len(operators) != 1 || operators[0]["provider"] != issuer || operators[0]["status"] != "active" {
		t.Errorf("the operators are %v", operators)
	}
	if log := p.output.String(); strings.Contains(log, "code=") || strings.Contains(log, secret) || !strings.Contains(log, `"uri":"/console/settings"`) {
		t.Errorf("the log has the code or the secret, or no lines:\n%s", log)
	}
	p.run("operator", "remove", dexUser, "--config", p.config)
	signIn("a[href='/console/']")
	if got := c.Text("main"); !strings.Contains(got, "says that you are "+dexUser) {
		t.Errorf("an operator who was removed: %s", got)
	}
}
