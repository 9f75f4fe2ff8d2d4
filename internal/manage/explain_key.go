package manage

import (
	"context"
	"errors"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// foundKey is the key of the request to explain, and the result of the checks before
// the key is looked up. The explanation shows these checks as the rule "credential".
type foundKey struct {
	key     *policy.Key // nil if there is no such key
	outcome policy.Outcome
	why     phrase.Text
	refused policy.Reason // Undecided if the checks are passed
}

// findKey finds the key with this ID or, if the ID is empty, the key with this secret.
func (m *Manager) findKey(ctx context.Context, id string, secret policy.Secret) (foundKey, error) {
	if id != "" {
		key, err := m.key(ctx, id)
		return foundKey{key: &key, outcome: policy.OutcomeNotApplicable, why: phrase.New("The key is named by its ID.")}, err
	}
	if secret.Empty() {
		return foundKey{outcome: policy.OutcomeRefused, why: phrase.New("There is no key."), refused: policy.CredentialMissing}, nil
	}
	if malformed := policy.CheckSecret(secret); malformed != nil {
		why := phrase.New("The key %v.", malformed)
		return foundKey{outcome: policy.OutcomeRefused, why: why, refused: policy.CredentialMalformed}, nil
	}
	found := foundKey{outcome: policy.OutcomePassed, why: phrase.New("The key has the form of one.")}
	record, err := m.Store.FindKey(ctx, secret)
	switch {
	case err == nil:
		if key := record.Key(); m.reaches(key.AccountID) {
			found.key = &key
		}
	case errors.Is(err, keystore.ErrNotFound):
		err = nil
	}
	return found, err
}

// insert puts the rule "credential" before the first rule that needs the key. If
// "credential" refuses the request, it makes the decision, and the rules after it are not
// reached.
func (f foundKey) insert(results []policy.RuleResult, d policy.Decision) ([]RuleShown, policy.Decision) {
	rules := make([]RuleShown, 0, len(results)+1)
	before := phrase.New("It was decided before.")
	for _, r := range results {
		if r.Rule == policy.RuleKey {
			if r.Outcome == policy.OutcomeNotReached {
				f.outcome, f.why, f.refused = policy.OutcomeNotReached, before, policy.Undecided
			}
			rules = append(rules, RuleShown{"credential", f.outcome.String(), Sentence{f.why}})
		}
		if r.Rule >= policy.RuleKey && f.refused != policy.Undecided {
			r.Outcome, r.Why, d = policy.OutcomeNotReached, before, policy.Decision{Reason: f.refused}
		}
		rules = append(rules, RuleShown{r.Rule.String(), r.Outcome.String(), Sentence{r.Why}})
	}
	return rules, d
}
