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
)

func forecastCommand() *cobra.Command {
	cmd := Leaf("forecast [flags]", "Shows which keys end soon, and what ends with them", NoArgument, showForecast)
	cmd.Long = `Shows which keys end soon, the first one first: by their expiry, or because the
overlap of a rotation is over. For each key it shows whose it is, how much it was
used in the last 7 days, its jobs that have not ended, the keys that it has issued,
and how much of its limits is used.

--within takes a duration, such as 24h, 7d or 2w.`
	cmd.Flags().String("within", "14d", "How far to look ahead")
	cmd.Flags().String("account", "", "Show the keys of this account only")
	cmd.Flags().Bool("csv", false, "Print CSV, with fields of the JSON")
	return cmd
}

func showForecast(cmd *cobra.Command, _ []string) error {
	var q manage.ForecastQuery
	if err := textFlags(cmd, flagInto{"within", &q.Within}, flagInto{"account", &q.AccountID}); err != nil {
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
		var w forecastWriter = &forecastTable{out: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
		switch {
		case s.json:
			w = &forecastJSON{out: out}
		case asCSV:
			w = &forecastCSV{out: csv.NewWriter(out)}
		}
		keys, err := s.forecast(q, w)
		if err != nil {
			return err
		}
		if err := w.end(); err != nil {
			return unwritten(err)
		}
		if keys == 0 && !s.json && !asCSV {
			s.note("No key ends within %s.", q.Within)
		}
		return unwritten(out.Flush())
	})
}

// unwritten returns the error of an output that cannot be written.
func unwritten(err error) error {
	if err != nil {
		err = fmt.Errorf("the result cannot be written: %w", err)
	}
	return err
}

// forecastPage is how many keys are in memory at a time. There can be a million.
const forecastPage = 500

// forecast writes the forecast, and returns how many keys are in it.
func (s *session) forecast(q manage.ForecastQuery, w forecastWriter) (keys int, err error) {
	for q.Limit = forecastPage; ; {
		page, err := s.manager.Forecast(s.ctx, q)
		if err != nil {
			return keys, err
		}
		for i := range page.Items {
			if err := w.write(&page.Items[i]); err != nil {
				return keys, unwritten(err)
			}
		}
		keys += len(page.Items)
		if q.Cursor = string(page.Next); q.Cursor == "" {
			return keys, nil
		}
	}
}

// forecastWriter prints the keys of a forecast.
type forecastWriter interface {
	write(k *manage.EndingKey) error
	end() error
}

// forecastJSON prints one array.
type forecastJSON struct {
	out  *bufio.Writer
	keys int
}

func (w *forecastJSON) write(k *manage.EndingKey) error {
	text, err := json.MarshalIndent(k, "  ", "  ")
	if err != nil {
		return err
	}
	before := ",\n  "
	if w.keys++; w.keys == 1 {
		before = "[\n  "
	}
	_, _ = w.out.WriteString(before) // the next error is the same
	_, err = w.out.Write(text)
	return err
}

func (w *forecastJSON) end() error {
	text := "\n]\n"
	if w.keys == 0 {
		text = "[]\n"
	}
	_, err := w.out.WriteString(text)
	return err
}

// forecastCSV prints a table in CSV (RFC 4180), whose columns are fields of the JSON.
type forecastCSV struct {
	out   *csv.Writer
	begun bool
}

func (w *forecastCSV) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	return w.out.Write([]string{
		"ends_at", "ends_by", "key_id", "account_id", "account_name", "label", "origin", "status", "expires_at", "last_used_at",
		"requests", "refused", "audio_seconds", "stream_seconds", "jobs", "grace_until", "children", "limits_used",
	})
}

func (w *forecastCSV) write(k *manage.EndingKey) error {
	if err := w.begin(); err != nil {
		return err
	}
	expires := ""
	if at, ok := k.ExpiresAt.Time(); ok {
		expires = at.String()
	}
	return w.out.Write([]string{
		k.EndsAt.String(), k.EndsBy, k.ID, k.AccountID, noFormula(k.AccountName), noFormula(k.Label), k.Origin, k.Status, expires, timeOrEmpty(k.LastUsedAt),
		strconv.FormatInt(k.Requests, 10), strconv.FormatInt(k.Refused, 10), decimal(k.AudioSeconds), decimal(k.StreamSeconds),
		strconv.Itoa(k.Jobs), timeOrEmpty(k.GraceUntil), strconv.Itoa(k.Children), limitsUsed(k),
	})
}

func (w *forecastCSV) end() error {
	if err := w.begin(); err != nil {
		return err
	}
	w.out.Flush()
	return w.out.Error()
}

// noFormula returns a text that people have chosen so that no spreadsheet takes it for a
// formula: holders of accounts can write labels.
func noFormula(text string) string {
	if strings.ContainsAny(text[:min(1, len(text))], "=+-@\t\r") {
		return "'" + text
	}
	return text
}

// timeOrEmpty returns t as JSON has it, or "" if t is zero.
func timeOrEmpty(t manage.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.String()
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// limitsUsed returns the limits of a key and of its account with how much of them is used, where it
// is known.
func limitsUsed(k *manage.EndingKey) string {
	all := make([]string, len(k.LimitsUsed))
	for i, l := range k.LimitsUsed {
		all[i] = l.Limit
		if l.Used != nil {
			all[i] += " (" + strconv.FormatInt(*l.Used, 10) + " used)"
		}
		if l.Of != "key" {
			all[i] = l.Of + " " + all[i]
		}
	}
	return strings.Join(all, ", ")
}

// forecastTable prints a table for people.
type forecastTable struct {
	out  *tabwriter.Writer
	keys int
}

func (w *forecastTable) write(k *manage.EndingKey) error {
	if w.keys == 0 {
		if err := w.row([]string{"ENDS", "BY", "KEY ID", "ACCOUNT", "LABEL", "LAST USED", "REQUESTS", "JOBS", "CHILDREN", "LIMITS"}); err != nil {
			return err
		}
	}
	children := strconv.Itoa(k.Children)
	if k.Children == manage.MostChildrenCounted {
		children += "+"
	}
	err := w.row([]string{
		shortTime(k.EndsAt, ""), k.EndsBy, k.ID, k.AccountName, orDash(k.Label), shortTime(k.LastUsedAt, "never"),
		strconv.FormatInt(k.Requests, 10), strconv.Itoa(k.Jobs), children, orDash(limitsUsed(k)),
	})
	if w.keys++; w.keys%tableBlock == 0 && err == nil {
		err = w.out.Flush()
	}
	return err
}

func (w *forecastTable) row(cells []string) error {
	_, err := io.WriteString(w.out, strings.Join(printable(cells), "\t")+"\n")
	return err
}

func (w *forecastTable) end() error { return w.out.Flush() }
