package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func importCommand() *cobra.Command {
	imp := Leaf("import --account <account ID> [flags] < <file>", "Imports API keys that clients have already", NoArgument, importKeys)
	imp.Long = `Imports API keys that clients have already, one a line of standard input.

A line is a key or, with --digest, its SHA-256 in hexadecimal. Empty lines do not
count. All get the same rules, and origin initial. Keys that the account has
already stay as they are, so that an import can be repeated. A key that ended
never comes back.

The exit status is 1 if any line was not taken.
` + expiresHelp
	ruleFlags(imp)
	imp.Flags().Bool("digest", false, "The lines are SHA-256 digests of keys, in hexadecimal")
	imp.Flags().Bool("dry-run", false, "Say what would be imported, and write nothing")
	return imp
}

// importResult is an import in JSON.
type importResult struct {
	AccountID string        `json:"account_id"`
	DryRun    bool          `json:"dry_run"`
	Imported  []importedKey `json:"imported"`
	Known     int           `json:"known"`
	Differing []int         `json:"known_differing"` // lines of known keys that have other rules
	Dead      []notTaken    `json:"dead"`
	Taken     []notTaken    `json:"taken"`
	Malformed []notTaken    `json:"malformed"`
}

// importedKey is a key with the line that it stood on. In a dry run it has no
// ID.
type importedKey struct {
	Line  int     `json:"line"`
	KeyID *string `json:"key_id"` // in place of keyResult's
	keyResult
}

// notTaken is a line that became no key.
type notTaken struct {
	Line int    `json:"line"`
	Why  string `json:"why"`
}

func importKeys(cmd *cobra.Command, _ []string) error {
	digests, err := cmd.Flags().GetBool("digest")
	if err != nil {
		return err
	}
	dry, err := cmd.Flags().GetBool("dry-run")
	if err != nil {
		return err
	}
	if err := checkInput(cmd); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		k, err := newKeyOfFlags(cmd, s.now)
		if err != nil {
			return err
		}
		lines, secrets, err := s.readSecrets()
		if err != nil {
			return err
		}
		results, err := s.store.ImportKeys(s.ctx, s.now, s.by, keystore.Import{
			AccountID: k.AccountID, Label: k.Label, Expires: k.Expires, Allow: k.Allow,
			Secrets: secrets, Digests: digests, DryRun: dry,
		})
		switch {
		case err != nil && len(results) > 0:
			return fmt.Errorf("the first %s of %d are done, and then: %w; repeat the import", words.Count(len(results), "key"), len(secrets), err)
		case err != nil:
			return unknown(err, listOfAccounts)
		}
		return s.report(k, dry, lines, results)
	})
}

// report says what became of an import's lines, which is an error if any was
// not taken.
func (s *session) report(k keystore.NewKey, dry bool, lines []int, results []keystore.Imported) error {
	sum := importResult{
		AccountID: k.AccountID, DryRun: dry, Imported: []importedKey{}, Differing: []int{},
		Dead: []notTaken{}, Taken: []notTaken{}, Malformed: []notTaken{},
	}
	var rows [][]string
	for i, r := range results {
		line, not := lines[i], notTaken{lines[i], r.Why}
		what := ""
		switch r.Result {
		case keystore.ImportNew:
			sum.Imported = append(sum.Imported, s.importedAsJSON(line, r.Key))
		case keystore.ImportKnown:
			sum.Known++
			if r.Key.Expires != k.Expires || r.Key.Allow.String() != k.Allow.String() {
				sum.Differing = append(sum.Differing, line)
			}
		case keystore.ImportDead:
			sum.Dead, what = append(sum.Dead, not), "dead"
		case keystore.ImportTaken:
			sum.Taken, what = append(sum.Taken, not), "taken"
		default:
			sum.Malformed, what = append(sum.Malformed, not), "malformed"
		}
		if what != "" {
			rows = append(rows, []string{fmt.Sprintf("line %d: %s: %s", line, what, r.Why)})
		}
	}
	done := "Imported"
	if dry {
		done = "Would import"
	}
	text := fmt.Sprintf("%s %s into account %s; %d known already, %d not taken.",
		done, words.Count(len(sum.Imported), "key"), k.AccountID, sum.Known, len(rows))
	if err := s.print(sum, append([][]string{{text}}, rows...)...); err != nil {
		return err
	}
	s.warnOfAllow(k.Allow)
	if n := len(sum.Differing); n > 0 {
		s.note("Warning: of those known already, %d had another expiry or other addresses, and keep them; the first is on line %d.", n, sum.Differing[0])
	}
	if len(rows) > 0 {
		return fmt.Errorf("%d of %s not taken", len(rows), words.Count(len(results), "key"))
	}
	return nil
}

func (s *session) importedAsJSON(line int, k policy.Key) importedKey {
	result := importedKey{Line: line, keyResult: s.keyAsJSON(k)}
	if k.ID != "" {
		result.KeyID = &k.ID
	}
	return result
}

// maxInput bounds what is read from standard input: some 250,000 keys.
const maxInput = 16 << 20

var (
	errTerminal = errors.New("standard input is a terminal, which shows what is typed: give the key from a file or a pipe")
	errNoKeys   = errors.New("standard input is empty: want one key a line")
	errTooLong  = fmt.Errorf("standard input is longer than %d MiB: divide it", maxInput>>20)
)

// checkInput refuses a configuration that comes from where keys are to come
// from.
func checkInput(cmd *cobra.Command) error {
	file, err := cmd.Flags().GetString(flagConfig)
	if err == nil && file == "-" {
		err = fmt.Errorf("--%s - reads standard input, as this does: name a file", flagConfig)
	}
	return err
}

// readSecrets reads the lines of standard input that are not empty, and their
// numbers.
func (s *session) readSecrets() (lines []int, secrets []policy.Secret, err error) {
	if isTerminal(s.in) {
		return nil, nil, errTerminal
	}
	text, err := io.ReadAll(io.LimitReader(s.in, maxInput+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("standard input: %w", err)
	case len(text) > maxInput:
		return nil, nil, errTooLong
	}
	number := 0
	for line := range strings.SplitSeq(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		number++
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, number)
			secrets = append(secrets, policy.NewSecret(line))
		}
	}
	if len(secrets) == 0 {
		return nil, nil, errNoKeys
	}
	return lines, secrets, nil
}

// isTerminal reports whether r is a character device that shows what is typed.
func isTerminal(r io.Reader) bool {
	file, ok := r.(*os.File)
	if !ok {
		return false
	}
	fi, err := file.Stat()
	if err != nil || fi.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(fi, null)
}
