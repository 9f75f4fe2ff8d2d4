package command

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

func usageCommand() *cobra.Command {
	cmd := Leaf("usage [flags]", "Shows who used how much", NoArgument, showUsage)
	cmd.Long = `Shows who used how much: requests, refused requests, the size and the length of
the audio that went to the backend, and the time of live streams.

--since takes
  90s, 24h, 7d, 1h30m     a duration before now, in ms, s, m, h, d and w
  2026-11-23              a date: from its beginning, in UTC
  2026-11-23T18:00:00Z    an instant, as RFC 3339 spells it
The sum begins with the hour of that time or, if it is more than 7 days ago, with
its day. Without --since it has all that was ever counted, except with --by hour
and --by day: hours are kept for 7 days, and days for 400 days.

The length of audio is known for WAV files and for raw formats. A server writes
what it has counted every 4 seconds.`
	cmd.Flags().String("account", "", "Show the usage of this account only")
	cmd.Flags().String("key", "", "Show the usage of the key with this ID only")
	cmd.Flags().String("since", "", "Show no usage from before")
	cmd.Flags().String("by", "", "Show one line for each "+words.Alternatives(manage.UsageGroups()))
	cmd.Flags().Int("limit", 0, "With --by key: show so many of the keys with the most requests; 0 for all")
	cmd.Flags().Bool("csv", false, "Print CSV, with the fields of the JSON")
	return cmd
}

func showUsage(cmd *cobra.Command, _ []string) error {
	var q manage.UsageQuery
	err := textFlags(cmd, flagInto{"account", &q.AccountID}, flagInto{"key", &q.KeyID}, flagInto{"since", &q.Since}, flagInto{"by", &q.By})
	if err != nil {
		return err
	}
	if q.Limit, err = cmd.Flags().GetInt("limit"); err != nil {
		return err
	}
	asCSV, err := cmd.Flags().GetBool("csv")
	if err != nil {
		return err
	}
	if asCSV && wantsJSON(cmd) {
		return usagef("--csv and --json: want one of them")
	}
	if err := q.Validate(); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		out := bufio.NewWriter(s.out)
		var w usageWriter = newUsageTable(out, q.By)
		switch {
		case s.json:
			w = &usageJSON{out: out}
		case asCSV:
			w = &usageCSV{out: csv.NewWriter(out)}
		}
		lines := 0
		if err := s.manager.Usage(s.ctx, q, func(u *manage.Usage) error {
			lines++
			return w.write(u)
		}); err != nil {
			return err
		}
		if err := w.end(); err != nil {
			return fmt.Errorf("the result cannot be written: %w", err)
		}
		if lines == 0 && !s.json && !asCSV {
			s.note("There is no usage.")
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("the result cannot be written: %w", err)
		}
		return nil
	})
}

// usageWriter prints sums of usage. There can be millions of them, so it keeps none.
type usageWriter interface {
	write(u *manage.Usage) error
	end() error
}

// usageJSON prints one array.
type usageJSON struct {
	out   *bufio.Writer
	lines int
}

func (w *usageJSON) write(u *manage.Usage) error {
	text, err := json.MarshalIndent(u, "  ", "  ")
	if err != nil {
		return err
	}
	before := ",\n  "
	if w.lines++; w.lines == 1 {
		before = "[\n  "
	}
	_, _ = w.out.WriteString(before) // the next error is the same
	_, err = w.out.Write(text)
	return err
}

func (w *usageJSON) end() error {
	text := "\n]\n"
	if w.lines == 0 {
		text = "[]\n"
	}
	_, err := w.out.WriteString(text)
	return err
}

// usageCSV prints a table in CSV (RFC 4180), whose columns are the fields of the JSON.
type usageCSV struct {
	out   *csv.Writer
	begun bool
}

var usageColumns = []string{"at", "account_id", "key_id", "operation", "reason", "requests", "refused", "audio_bytes", "audio_seconds", "stream_seconds"}

func (w *usageCSV) write(u *manage.Usage) error {
	if err := w.begin(); err != nil {
		return err
	}
	at := ""
	if !u.At.IsZero() {
		at = u.At.String()
	}
	return w.out.Write(append([]string{at, string(u.AccountID), string(u.KeyID), string(u.Operation), string(u.Reason)}, usageNumbers(u)...))
}

func (w *usageCSV) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	return w.out.Write(usageColumns)
}

func (w *usageCSV) end() error {
	if err := w.begin(); err != nil {
		return err
	}
	w.out.Flush()
	return w.out.Error()
}

func usageNumbers(u *manage.Usage) []string {
	return []string{
		strconv.FormatInt(u.Requests, 10), strconv.FormatInt(u.Refused, 10), strconv.FormatInt(u.AudioBytes, 10),
		strconv.FormatFloat(u.AudioSeconds, 'f', -1, 64), strconv.FormatFloat(u.StreamSeconds, 'f', -1, 64),
	}
}

// usageTable prints a table for people.
type usageTable struct {
	out   *tabwriter.Writer
	by    string
	lines int
}

// tableBlock is how many lines are aligned together, because the lines of a block are in memory.
const tableBlock = 1000

func newUsageTable(out io.Writer, by string) *usageTable {
	return &usageTable{out: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), by: by}
}

func (w *usageTable) write(u *manage.Usage) error {
	var name, header []string
	switch w.by {
	case "hour":
		name, header = []string{shortTime(u.At, "-")}, []string{"HOUR"}
	case "day":
		name, header = []string{u.At.Std().Format("2006-01-02")}, []string{"DAY"}
	case "key":
		name, header = []string{string(u.KeyID), string(u.AccountID)}, []string{"KEY ID", "ACCOUNT ID"}
	case "operation":
		name, header = []string{string(u.Operation)}, []string{"OPERATION"}
	case "reason":
		name, header = []string{string(u.Reason)}, []string{"REASON"}
	}
	if w.lines == 0 {
		header = append(header, "REQUESTS", "REFUSED", "AUDIO BYTES", "AUDIO SECONDS", "STREAM SECONDS")
		if _, err := fmt.Fprintln(w.out, strings.Join(header, "\t")); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w.out, strings.Join(append(name, usageNumbers(u)...), "\t")); err != nil {
		return err
	}
	if w.lines++; w.lines%tableBlock == 0 {
		return w.out.Flush()
	}
	return nil
}

func (w *usageTable) end() error { return w.out.Flush() }
