package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/speechgate/speechgate/policy"
)

// print writes the result: value as JSON, or the rows for people, with their
// cells aligned.
func (s *session) print(value any, rows ...[]string) error {
	var out bytes.Buffer
	if s.json {
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(value); err != nil {
			return err
		}
	} else {
		table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		for _, row := range rows {
			if _, err := fmt.Fprintln(table, strings.Join(printable(row), "\t")); err != nil {
				return err
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	// In one piece, so that a secret is written whole or the error says so.
	if _, err := s.out.Write(out.Bytes()); err != nil {
		return fmt.Errorf("the result cannot be written: %w", err)
	}
	return nil
}

// say writes the result: value as JSON, or a sentence for people.
func (s *session) say(value any, format string, args ...any) error {
	return s.print(value, []string{fmt.Sprintf(format, args...)})
}

// note writes a sentence that is no result.
func (s *session) note(format string, args ...any) {
	_, _ = fmt.Fprintf(s.err, format+"\n", args...) // where this cannot be written, nothing can be said
}

// printAll writes a list. Where it is empty, people read none instead, which is
// no result.
func printAll[T, J any](s *session, all []T, asJSON func(T) J, none string, header []string, row func(T) []string) error {
	values := make([]J, len(all))
	rows := make([][]string, 0, len(all)+1)
	if len(all) > 0 {
		rows = append(rows, header)
	} else if !s.json {
		s.note("%s", none)
	}
	for i, v := range all {
		values[i] = asJSON(v)
		rows = append(rows, row(v))
	}
	return s.print(values, rows...)
}

// printable returns cells that cannot disturb the terminal or the table,
// whatever a backend chose to call a job.
func printable(cells []string) []string {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return unicode.ReplacementChar
		}, cell)
	}
	return clean
}

// expiryText is an expiry for JSON, null if there is none.
func expiryText(e policy.Expiry) *string {
	if _, ok := e.Time(); !ok {
		return nil
	}
	text := e.String()
	return &text
}

// shortTime is an instant for people, to the second.
func shortTime(t policy.Time, never string) string {
	if t.IsZero() {
		return never
	}
	return t.Std().Format("2006-01-02T15:04:05Z")
}

// shortExpiry is an expiry for people, to the second.
func shortExpiry(e policy.Expiry) string {
	at, ok := e.Time()
	if !ok {
		return "never"
	}
	return shortTime(at, at.String())
}

// orDash returns text, or a dash for an empty cell.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
