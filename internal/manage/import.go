package manage

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// NewKeys is a request to import keys that clients already use.
type NewKeys struct {
	// NewKey has the rules of all the keys. Keys that are imported cannot issue keys.
	NewKey

	// If Digests is true, the lines are SHA-256 digests of keys, in hexadecimal.
	Digests bool `json:"digests"`
	// If Weak is true, weak lines are imported too. A weak line is probably not a key of a
	// client, such as a short word, the heading of a table, or a digest although Digests is
	// false.
	Weak bool `json:"weak"`
	// If DryRun is true, nothing is changed.
	DryRun bool `json:"dry_run"`
}

// ImportResult says what each line of an import became. If a line is malformed or weak, no
// line was imported.
type ImportResult struct {
	AccountID string        `json:"account_id"`
	DryRun    bool          `json:"dry_run"`
	Imported  []ImportedKey `json:"imported"`
	Known     int           `json:"known"`           // keys that the account has already
	Differing []int         `json:"known_differing"` // lines whose keys the account has already, with other rules
	Dead      []LineNotKey  `json:"dead"`            // keys that have ended
	Taken     []LineNotKey  `json:"taken"`           // keys of other accounts
	Malformed []LineNotKey  `json:"malformed"`       // texts that cannot be keys
	Weak      []LineNotKey  `json:"weak"`            // texts that are probably no keys

	Lines    int      `json:"-"` // how many lines there were
	Warnings []string `json:"-"` // about the addresses of the keys
}

// ImportedKey is a key with its line. In a dry run it has no ID.
type ImportedKey struct {
	Line int    `json:"line"`
	ID   OrNull `json:"key_id"` // replaces the ID of the embedded Key
	Key
}

// LineNotKey is a line that did not become a key.
type LineNotKey struct {
	Line int    `json:"line"`
	Why  string `json:"why"`

	What   string `json:"-"` // dead, taken, malformed or weak
	Digest bool   `json:"-"` // the line has the form of a digest, in an import of keys
}

// Refused reports whether a line was malformed or weak, so that no line was imported.
func (r *ImportResult) Refused() bool { return len(r.Malformed)+len(r.Weak) > 0 }

// NotTaken returns all lines that did not become keys, in the order of the lines.
func (r *ImportResult) NotTaken() []LineNotKey {
	return slices.SortedFunc(slices.Values(slices.Concat(r.Dead, r.Taken, r.Malformed, r.Weak)),
		func(a, b LineNotKey) int { return cmp.Compare(a.Line, b.Line) })
}

// ImportKeys imports the keys of some lines. Keys that the account has already stay as
// they are, so that an import can be repeated. If a line is malformed or weak, no line is
// imported: the lines are then probably not what the caller meant. Keys that have ended, and
// keys of other accounts, are left out. It is for the operator only.
func (m *Manager) ImportKeys(ctx context.Context, n NewKeys, lines []KeyLine) (*ImportResult, error) {
	if err := m.operatorOnly(); err != nil {
		return nil, err
	}
	k, err := n.parse(m.Now)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, wrong("keys", " is empty: want one key a line")
	}
	if k.AccountID, err = m.accountID(ctx, k.AccountID); err != nil {
		return nil, err
	}
	secrets := make([]policy.Secret, len(lines))
	for i, line := range lines {
		secrets[i] = line.Secret
	}
	im := keystore.Import{
		AccountID: k.AccountID, Label: k.Label, Expires: k.Expires, Allow: k.Allow, Limits: k.Limits,
		Secrets: secrets, Digests: n.Digests, DryRun: n.DryRun,
	}
	malformed, weak := doubts(lines, &im, n.Weak)
	if len(malformed)+len(weak) > 0 {
		im.DryRun = true // to report on the other lines too
	}
	done, err := m.Store.ImportKeys(ctx, m.Now, m.Actor, im)
	switch {
	case err != nil && reached(done) > 0:
		return nil, fmt.Errorf("%s of %d are done, and then: %w; repeat the import", words.Count(reached(done), "key"), len(lines), err)
	case err != nil:
		return nil, notFound(err, KindAccount)
	}
	result := m.importResult(k, n.DryRun, lines, done)
	if result.Malformed, result.Weak = malformed, weak; result.Refused() {
		result.Imported = []ImportedKey{}
	}
	return result, nil
}

// reached returns how many of these results an import has come to before an error.
func reached(done []keystore.Imported) (n int) {
	for i := range done {
		if done[i].Result != 0 {
			n++
		}
	}
	return n
}

func (m *Manager) importResult(k keystore.NewKey, dry bool, lines []KeyLine, done []keystore.Imported) *ImportResult {
	result := &ImportResult{
		AccountID: k.AccountID, DryRun: dry, Imported: []ImportedKey{}, Differing: []int{},
		Dead: []LineNotKey{}, Taken: []LineNotKey{},
		Lines: len(lines), Warnings: k.Allow.Warnings(),
	}
	for i, r := range done {
		line := lines[i].Number
		switch r.Result {
		case keystore.ImportNew:
			result.Imported = append(result.Imported, ImportedKey{line, OrNull(r.Key.ID), m.keyOf(r.Key)})
		case keystore.ImportKnown:
			result.Known++
			if r.Key.Expires != k.Expires || r.Key.Allow.String() != k.Allow.String() || r.Key.Limits != k.Limits {
				result.Differing = append(result.Differing, line)
			}
		case keystore.ImportDead:
			result.Dead = append(result.Dead, LineNotKey{Line: line, Why: r.Why, What: "dead"})
		case keystore.ImportTaken:
			result.Taken = append(result.Taken, LineNotKey{Line: line, Why: r.Why, What: "taken"})
		case keystore.ImportMalformed: // doubts has found it
		}
	}
	return result
}
