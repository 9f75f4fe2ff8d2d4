package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

// result is what a command prints for one ID: value in JSON or, for people, rows.
type result struct {
	value any
	rows  [][]string
}

// changeRecords runs a command that changes the record of each ID, as changeEach does, in the
// keystore, which must exist.
func changeRecords[T any](cmd *cobra.Command, ids []string, change func(s *session, id string) (T, error), said func(T) string) error {
	return changeStore(cmd, func(s *session) error {
		return changeEach(s, ids, func(id string) (T, error) { return change(s, id) }, said)
	})
}

// changeEach changes the record of each ID, as forEach does. For people it prints one
// sentence about each record, which said returns.
func changeEach[T any](s *session, ids []string, change func(id string) (T, error), said func(T) string) error {
	return s.forEach(ids, func(id string) (result, error) {
		record, err := change(id)
		if err != nil {
			return result{}, err
		}
		return result{record, [][]string{{said(record)}}}, nil
	})
}

// changedOnce returns a sentence about a record that a command has changed, such as
// "Suspended key ID." If the record was in this state before, already is true, and the
// sentence has the time since when.
func changedOnce(kind manage.Kind, id, state string, since manage.Time, already bool) string {
	if already {
		return fmt.Sprintf("%s %s is %s already, since %s.", capital(string(kind)), id, state, shortTime(since, ""))
	}
	return fmt.Sprintf("%s %s %s.", capital(state), kind, id)
}

// capital returns an ASCII word with a capital letter at the beginning.
func capital(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// someIDs returns a check for a command that takes one or more arguments, the IDs of
// records of this kind. An account can also be given by its name.
func someIDs(kind manage.Kind) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return oneArgument(cmd, args)
		}
		for _, arg := range args {
			var err error
			switch kind {
			case manage.KindAccount:
				err = manage.CheckAccount("", arg)
			case manage.KindJob: // a backend chooses the form of its job IDs
			default:
				err = manage.CheckID("", kind, arg)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// oneAccount is a check for a command that takes one argument, the ID or the name of an
// account.
func oneAccount(cmd *cobra.Command, args []string) error {
	if err := oneArgument(cmd, args); err != nil {
		return err
	}
	return manage.CheckAccount("", args[0])
}

// forEach runs a command for each ID. For one ID it prints one result. For several IDs it
// prints all results, in JSON as an array, and continues after an error. In the array, an
// ID for which the command failed has an object with "id" and "error". The error at the end
// says how many IDs failed.
func (s *session) forEach(ids []string, run func(id string) (result, error)) error {
	if len(ids) == 1 {
		r, err := run(ids[0])
		if err != nil {
			return err
		}
		return s.print(r.value, r.rows...)
	}
	var rows [][]string
	values := make([]any, 0, len(ids))
	var first error
	failed := 0
	for _, id := range ids {
		r, err := run(id)
		if err != nil {
			text := oneLine(manage.Text(err, cliNames{}))
			if !s.json {
				s.note("Error: %s", text)
			}
			values = append(values, failedID{id, text})
			if failed++; first == nil {
				first = err
			}
			continue
		}
		values = append(values, r.value)
		if len(rows) > 0 && len(r.rows) > 1 {
			rows = append(rows, []string{""})
		}
		rows = append(rows, r.rows...)
	}
	if err := s.print(values, rows...); err != nil {
		return err
	}
	if failed > 0 {
		return &someFailedError{fmt.Sprintf("%d of %s failed", failed, words.Count(len(ids), "ID")), len(ids) - failed, first}
	}
	return nil
}

// failedID is the JSON of an ID for which a command failed.
type failedID struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

// someFailedError says for how many IDs a command failed. Its kind is the kind of the first
// error.
type someFailedError struct {
	text  string
	done  int // for how many IDs the command did not fail
	first error
}

func (e *someFailedError) Error() string { return e.text }
func (e *someFailedError) Unwrap() error { return e.first }

// limitFlag adds the flag --limit, which limitedList reads. The argument what is the plural
// of the records.
func limitFlag(cmd *cobra.Command, what string) {
	cmd.Flags().Int("limit", 0, "Show so many of the newest "+what+" at most; 0 for all")
}

// limitedList returns a list, oldest first. With --limit, it returns only the newest
// entries, and prints a note if there are older ones.
func limitedList[T any](cmd *cobra.Command, s *session, read func(page manage.Page, newestFirst bool) (manage.List[T], error)) ([]T, error) {
	limit, err := cmd.Flags().GetInt("limit")
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		return manage.All(func(page manage.Page) (manage.List[T], error) { return read(page, false) })
	}
	newest, err := read(manage.Page{Limit: limit}, true)
	if err != nil {
		return nil, err
	}
	if newest.Next != "" {
		s.note("There are older entries: --limit shows more.")
	}
	slices.Reverse(newest.Items)
	return newest.Items, nil
}

// firstOf returns a list. With --limit, it returns only the first entries, and prints a note if
// there are more.
func firstOf[T any](cmd *cobra.Command, s *session, read func(page manage.Page, newestFirst bool) (manage.List[T], error)) (all []T, err error) {
	limit, err := cmd.Flags().GetInt("limit")
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		return manage.All(func(page manage.Page) (manage.List[T], error) { return read(page, false) })
	}
	for page := (manage.Page{Limit: limit}); ; {
		part, err := read(page, false)
		if err != nil {
			return nil, err
		}
		all = append(all, part.Items...)
		switch page.Limit, page.Cursor = limit-len(all), string(part.Next); {
		case page.Cursor == "":
			return all, nil
		case page.Limit == 0:
			s.note("There can be more entries: --limit shows more.")
			return all, nil
		}
	}
}
