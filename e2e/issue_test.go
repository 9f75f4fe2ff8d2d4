package e2e_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	serviceID       = "example-app"
	servicePassword = "p@ss w&rd" // every other character needs escaping in a form
	issuancePath    = "/issue_service_authorization"
)

// tool finds a program that a test needs. Where all of the checks are to be made,
// which CI says, it must be there.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s on the PATH, and with CI set there must be", strings.Join(names, " or "))
	}
	t.Skipf("there is no %s on the PATH", strings.Join(names, " or "))
	return ""
}

// newExample is a running Caddyfile.example that knows an account by its service
// ID and service password.
func newExample(t *testing.T) (p *program, account string) {
	t.Helper()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	p = newProgram(t, string(example))
	p.start()
	return p, p.importAccount()
}

func (p *program) importAccount() string {
	p.t.Helper()
	account, err := p.openStore().ImportAccount(context.Background(), policy.At(time.Now()), keystore.Actor{Kind: keystore.ActorOperator, ID: "test"},
		"Example", serviceID, policy.NewSecret(servicePassword))
	if err != nil {
		p.t.Fatal(err)
	}
	return account.ID
}

// openStore opens the server's keystore beside it, until the test ends.
func (p *program) openStore() *keystore.Store {
	p.t.Helper()
	path := filepath.Join(p.dir, "data", "caddy", "speechgate", "keystore.db")
	store, err := keystore.Open(context.Background(), keystore.Config{
		Path: path, CommandLine: true, Clock: func() policy.Time { return policy.At(time.Now()) },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = store.Close() })
	return store
}

// kept checks that the gateway's log shows no secret.
func (p *program) kept(secrets ...string) {
	p.t.Helper()
	output := p.output.String()
	for _, secret := range append(secrets, servicePassword, url.QueryEscape(servicePassword), url.PathEscape(servicePassword), "sandbox-backend-key") {
		if secret == "" || strings.Contains(output, secret) {
			p.t.Errorf("a secret is in the output, or empty:\n%s", output)
		}
	}
}
