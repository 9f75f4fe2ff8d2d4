package manage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// MaxKeyText is the longest text that [ParseKeyLines] reads, in bytes: some 250,000
// keys.
const MaxKeyText = 16 << 20

// KeyLine is a line of text that can be a key.
type KeyLine struct {
	Number int // from 1; empty lines count
	Secret policy.Secret
}

// ParseKeyLines returns the lines of a text that are not empty, without the white space
// around them. A byte order mark before the first line is left out.
func ParseKeyLines(text string) (lines []KeyLine, err error) {
	if len(text) > MaxKeyText {
		return nil, wrong("keys", " is longer than %d MiB: divide it", MaxKeyText>>20)
	}
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(text, "\ufeff"), "\n") {
		number++
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, KeyLine{number, policy.NewSecret(line)})
		}
	}
	return lines, nil
}

// NewKeys asks to import keys that clients have already.
type NewKeys struct {
	// NewKey has the rules of all the keys. Keys that are imported cannot issue keys.
	NewKey

	// Digests says that the lines are SHA-256 digests of keys, in hexadecimal.
	Digests bool `json:"digests"`
	// DryRun changes nothing.
	DryRun bool `json:"dry_run"`
}

// ImportResult says what became of each line of an import.
type ImportResult struct {
	AccountID string        `json:"account_id"`
	DryRun    bool          `json:"dry_run"`
	Imported  []ImportedKey `json:"imported"`
	Known     int           `json:"known"`           // keys that the account has already
	Differing []int         `json:"known_differing"` // lines of known keys that have other rules
	Dead      []LineNotKey  `json:"dead"`            // keys that have ended
	Taken     []LineNotKey  `json:"taken"`           // keys of other accounts
	Malformed []LineNotKey  `json:"malformed"`       // texts that cannot be keys

	Lines    int      `json:"-"` // how many lines there were
	Warnings []string `json:"-"` // about the addresses of the keys
}

// ImportedKey is a key with its line. In a dry run it has no ID.
type ImportedKey struct {
	Line int    `json:"line"`
	ID   OrNull `json:"key_id"` // in place of the ID of Key
	Key
}

// LineNotKey is a line that became no key.
type LineNotKey struct {
	Line int    `json:"line"`
	Why  string `json:"why"`

	What string `json:"-"` // dead, taken or malformed
}

// NotTaken returns the lines that became no keys, in order.
func (r *ImportResult) NotTaken() []LineNotKey {
	return slices.SortedFunc(slices.Values(slices.Concat(r.Dead, r.Taken, r.Malformed)),
		func(a, b LineNotKey) int { return cmp.Compare(a.Line, b.Line) })
}

// ImportKeys imports the keys of some lines. Keys that the account has already stay as
// they are, so that an import can be repeated. It is for the operator only.
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
	secrets := make([]policy.Secret, len(lines))
	for i, line := range lines {
		secrets[i] = line.Secret
	}
	done, err := m.Store.ImportKeys(ctx, m.Now, m.Actor, keystore.Import{
		AccountID: k.AccountID, Label: k.Label, Expires: k.Expires, Allow: k.Allow,
		Secrets: secrets, Digests: n.Digests, DryRun: n.DryRun,
	})
	switch {
	case err != nil && len(done) > 0:
		return nil, fmt.Errorf("the first %s of %d are done, and then: %w; repeat the import", words.Count(len(done), "key"), len(lines), err)
	case err != nil:
		return nil, notFound(err, KindAccount)
	}
	return m.importResult(k, n.DryRun, lines, done), nil
}

func (m *Manager) importResult(k keystore.NewKey, dry bool, lines []KeyLine, done []keystore.Imported) *ImportResult {
	result := &ImportResult{
		AccountID: k.AccountID, DryRun: dry, Imported: []ImportedKey{}, Differing: []int{},
		Dead: []LineNotKey{}, Taken: []LineNotKey{}, Malformed: []LineNotKey{},
		Lines: len(lines), Warnings: k.Allow.Warnings(),
	}
	for i, r := range done {
		line := lines[i].Number
		switch r.Result {
		case keystore.ImportNew:
			result.Imported = append(result.Imported, ImportedKey{line, OrNull(r.Key.ID), m.keyOf(r.Key)})
		case keystore.ImportKnown:
			result.Known++
			if r.Key.Expires != k.Expires || r.Key.Allow.String() != k.Allow.String() {
				result.Differing = append(result.Differing, line)
			}
		case keystore.ImportDead:
			result.Dead = append(result.Dead, LineNotKey{line, r.Why, "dead"})
		case keystore.ImportTaken:
			result.Taken = append(result.Taken, LineNotKey{line, r.Why, "taken"})
		case keystore.ImportMalformed:
			result.Malformed = append(result.Malformed, LineNotKey{line, r.Why, "malformed"})
		}
	}
	return result
}
