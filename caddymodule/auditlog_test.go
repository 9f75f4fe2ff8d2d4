package caddymodule_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// audited returns how many lines of the audit log are about a subject.
func (g *gateway) audited(action, subject string) int {
	n := 0
	for line := range strings.Lines(g.log()) {
		if strings.Contains(line, `"logger":"speechgate.audit"`) && strings.Contains(line, `"action":"`+action+`"`) && strings.Contains(line, `"subject":"`+subject+`"`) {
			n++
		}
	}
	return n
}

// The audit log has each entry once, as it happens: also those of other processes, and across
// reloads.
func TestAuditLog_HasEachEntryOnce(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{}) // the harness writes as another process does
	eventually(t, func() bool { return g.audited("key_issue", key.ID) == 1 })
	by := keystore.Actor{Kind: keystore.ActorOperator, ID: "alice"}
	if _, err := g.keys.RevokeKey(t.Context(), now(), by, key.ID, "found in a repository"); err != nil {
		t.Fatal(err)
	}
	g.load() // another configuration goes on where the first one was
	other, _ := g.issue(keystore.NewKey{})
	eventually(t, func() bool {
		return g.audited("key_revoke", key.ID) == 1 && g.audited("key_issue", other.ID) == 1
	})
	log := g.log()
	if !strings.Contains(log, `"actor_kind":"operator","actor_id":"alice"`) || !strings.Contains(log, "found in a repository") {
		t.Errorf("the log does not say who and why:\n%s", log)
	}
	if g.audited("key_issue", key.ID) != 1 || strings.Contains(log, secret) {
		t.Errorf("the log has an entry twice, or a secret:\n%s", log)
	}
}

// Many entries at once are logged in batches, in their order, and a reload meanwhile loses none.
func TestAuditLog_HasManyEntriesInOrder(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, _ := g.issue(keystore.NewKey{})
	const many = 2500
	var secrets []policy.Secret
	for i := range many {
		secrets = append(secrets, policy.NewSecret("imported-key-"+strconv.Itoa(i)))
	}
	im := keystore.Import{AccountID: key.AccountID, Secrets: secrets, Expires: policy.Never()}
	if _, err := g.keys.ImportKeys(t.Context(), now(), keystore.Actor{Kind: keystore.ActorOperator}, im); err != nil {
		t.Fatal(err)
	}
	g.load()
	seq := regexp.MustCompile(`"logger":"speechgate\.audit".*"seq":(\d+),.*"action":"key_import"`)
	var logged []int
	eventually(t, func() bool {
		logged = nil
		for _, found := range seq.FindAllStringSubmatch(g.log(), -1) {
			n, _ := strconv.Atoi(found[1])
			logged = append(logged, n)
		}
		return len(logged) >= many
	})
	for i := range logged {
		if len(logged) != many || logged[i] != logged[0]+i {
			t.Fatalf("%d entries are logged, and number %d is entry %d: want %d in a row from %d", len(logged), i, logged[i], many, logged[0])
		}
	}
}
