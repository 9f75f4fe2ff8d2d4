package command

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// records is a list that a command prints as JSON, as CSV or as a table. There can be millions of
// records, so the list keeps none.
type records[T any] struct {
	columns []string          // of CSV: names of fields of the JSON
	row     func(*T) []string // the values of these columns
	table   recordTable[T]
	none    string // what people read in place of an empty table
}

// csvFlag returns whether the flag --csv is set. It refuses --csv with --json.
func csvFlag(cmd *cobra.Command) (bool, error) {
	asCSV, err := cmd.Flags().GetBool("csv")
	if err == nil && asCSV && wantsJSON(cmd) {
		err = usagef("--csv and --json: want one of them")
	}
	return asCSV, err
}

// print prints the records that read passes to its argument.
func (r *records[T]) print(s *session, asCSV bool, read func(write func(*T) error) error) error {
	out := bufio.NewWriter(s.out)
	var w recordWriter[T]
	switch {
	case s.json:
		w = &recordJSON[T]{out: out}
	case asCSV:
		w = &recordCSV[T]{out: csv.NewWriter(out), columns: r.columns, row: r.row}
	default:
		r.table.out = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		w = &r.table
	}
	n := 0
	err := read(func(record *T) error {
		n++
		return unwritten(w.write(record))
	})
	if err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return unwritten(err)
	}
	if n == 0 && !s.json && !asCSV {
		s.note("%s", r.none)
	}
	return unwritten(out.Flush())
}

// unwritten returns the error of an output that cannot be written.
func unwritten(err error) error {
	if err != nil {
		err = fmt.Errorf("the result cannot be written: %w", err)
	}
	return err
}

// recordWriter prints records in one form.
type recordWriter[T any] interface {
	write(record *T) error
	end() error
}

// recordJSON prints one array.
type recordJSON[T any] struct {
	out   *bufio.Writer
	begun bool
}

func (w *recordJSON[T]) write(record *T) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("  ", "  ")
	if err := enc.Encode(record); err != nil {
		return err
	}
	before := ",\n  "
	if !w.begun {
		before = "[\n  "
	}
	w.begun = true
	_, _ = w.out.WriteString(before) // the next error is the same
	_, err := w.out.Write(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
	return err
}

func (w *recordJSON[T]) end() error {
	text := "\n]\n"
	if !w.begun {
		text = "[]\n"
	}
	_, err := w.out.WriteString(text)
	return err
}

// recordCSV prints a table in CSV (RFC 4180).
type recordCSV[T any] struct {
	out     *csv.Writer
	columns []string
	row     func(*T) []string
	begun   bool
}

func (w *recordCSV[T]) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	return w.out.Write(w.columns)
}

func (w *recordCSV[T]) write(record *T) error {
	if err := w.begin(); err != nil {
		return err
	}
	return w.out.Write(w.row(record))
}

func (w *recordCSV[T]) end() error {
	if err := w.begin(); err != nil {
		return err
	}
	w.out.Flush()
	return w.out.Error()
}

// tableBlock is how many lines are aligned together, because the lines of a block are in memory.
const tableBlock = 1000

// recordTable prints a table for people. An empty table has no header.
type recordTable[T any] struct {
	header []string
	cells  func(*T) []string

	out   *tabwriter.Writer
	lines int
}

func (w *recordTable[T]) write(record *T) error {
	if w.lines == 0 {
		if err := w.line(w.header); err != nil {
			return err
		}
	}
	err := w.line(w.cells(record))
	if w.lines++; w.lines%tableBlock == 0 && err == nil {
		err = w.out.Flush()
	}
	return err
}

func (w *recordTable[T]) line(cells []string) error {
	_, err := io.WriteString(w.out, strings.Join(printable(cells), "\t")+"\n")
	return err
}

func (w *recordTable[T]) end() error { return w.out.Flush() }
