package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/speechgate/speechgate/internal/manage"
)

// print writes the result: value as JSON or, for people, rows of aligned cells.
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
	// With only one write, the error tells whether the result, which can have a secret, was
	// written whole.
	_, err := s.out.Write(out.Bytes())
	return unwritten(err)
}

// say writes the result: value as JSON, or a sentence for people.
func (s *session) say(value any, format string, args ...any) error {
	return s.print(value, []string{fmt.Sprintf(format, args...)})
}

// note writes a sentence to standard error. It is not a part of the result.
func (s *session) note(format string, args ...any) {
	_, _ = fmt.Fprintf(s.err, format+"\n", args...) // there is no other place for the error
}

// printAll writes a list. If the list is empty and the output is for people, printAll
// writes the argument none to standard error.
func printAll[T any](s *session, all []T, none string, header []string, row func(T) []string) error {
	if all == nil {
		all = []T{} // [] in JSON, not null
	}
	rows := make([][]string, 0, len(all)+1)
	if len(all) > 0 {
		rows = append(rows, header)
	} else if !s.json {
		s.note("%s", none)
	}
	if !s.json {
		for _, v := range all {
			rows = append(rows, row(v))
		}
	}
	return s.print(all, rows...)
}

// printable replaces characters that could disturb the terminal or the table. For example,
// a backend can give a job any ID.
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

// shortTime returns t as text for people, to the second. If t is zero, it returns the
// argument never.
func shortTime(t manage.Time, never string) string {
	if t.IsZero() {
		return never
	}
	return t.Std().Format("2006-01-02T15:04:05Z")
}

// shortExpiry returns an expiry as text for people, to the second.
func shortExpiry(e manage.Expiry) string {
	at, ok := e.Time()
	if !ok {
		return manage.Never
	}
	return shortTime(manage.Time{Time: at}, at.String())
}

// orDash returns text, or a dash if text is empty.
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
