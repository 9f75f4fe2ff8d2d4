package e2e_test

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	serviceID       = "example-app"
	servicePassword = "p@ss w&rd" // every other character needs escaping in a form
	issuancePath    = "/issue_service_authorization"
)

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
	cfg := keystore.Config{Path: p.store(), CommandLine: true, Clock: func() policy.Time { return policy.At(time.Now()) }}
	if p.dsn != "" {
		cfg.Path, cfg.Postgres = "", &keystore.Postgres{DSN: policy.NewSecret(p.dsn)}
	}
	store, err := keystore.Open(context.Background(), cfg)
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
