package manage_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// flags are the names of the command line.
type flags struct{}

func (flags) Field(name string) string   { return "--" + strings.ReplaceAll(name, "_", "-") }
func (flags) List(of manage.Kind) string { return `"` + string(of) + ` list"` }

func ExampleManager_Explain() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "manage-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := keystore.Open(ctx, keystore.Config{Path: filepath.Join(dir, "keystore.db"), CommandLine: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	gate := manage.GateConfig{
		Dialect: "amivoice", Backend: "amivoice",
		Classify: func(method string, path *url.URL) (dialect.Call, string) {
			return dialect.AmiVoice.Classify(method, path.EscapedPath()), ""
		},
	}
	m := manage.Manager{
		Store: store,
		Actor: keystore.Actor{Kind: keystore.ActorOperator, ID: "ada"},
		Now:   policy.At(time.Date(2031, time.February, 3, 9, 0, 0, 0, time.UTC)),
		Gates: manage.GateConfigs{Gates: []manage.GateConfig{gate}},
	}

	account, err := m.CreateAccount(ctx, manage.NewAccount{Name: "Example Corp."})
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := m.IssueKey(ctx, manage.NewKey{AccountID: account.ID, Expires: "2031-02-28", Allow: []string{"192.0.2.0/24"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := m.Explain(ctx, manage.ExplainRequest{
		KeyID: key.ID, ClientIP: "203.0.113.9", Method: "POST", Path: "/v1/recognize", Dialect: "amivoice",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("The key expires at", key.ExpiresAt)
	for _, rule := range e.Rules {
		if rule.Verdict == "refused" {
			fmt.Println(e.Reason+":", rule.Why)
		}
	}
	// Output:
	// The key expires at 2031-03-01T00:00:00.000Z
	// address_refused: The client's address, 203.0.113.9, is not among those that the key may be used from: 192.0.2.0/24.
}

// An interface for people shows the message of an error with its own names.
func ExampleText() {
	query := manage.KeyQuery{IssuedBy: "acc_4Yw8zW2rYJ0eGm1qX5nT"}
	err := query.Validate()
	fmt.Println(manage.Text(err, flags{}))
	fmt.Println(err)
	// Output:
	// --issued-by "acc_4Yw8zW2rYJ0eGm1qX5nT" is an account ID: want a key ID, key_…, as "key list" shows it
	// issued_by "acc_4Yw8zW2rYJ0eGm1qX5nT" is an account ID: want a key ID, key_…
}

func ExampleParseKeyLines() {
	lines, err := manage.ParseKeyLines("first-key\n\n  second-key\r\n")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, line := range lines {
		fmt.Println("line", line.Number, "has", len(line.Secret.Reveal()), "characters, which print as", line.Secret)
	}
	// Output:
	// line 1 has 9 characters, which print as REDACTED
	// line 3 has 10 characters, which print as REDACTED
}
