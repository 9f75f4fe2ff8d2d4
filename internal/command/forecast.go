package command

import (
	"fmt"
	"strconv"
	"strings"

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
	asCSV, err := csvFlag(cmd)
	if err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		list := records[manage.EndingKey]{
			columns: forecastColumns, row: forecastRow,
			table: recordTable[manage.EndingKey]{header: forecastHeader, cells: forecastCells},
			none:  fmt.Sprintf("No key ends within %s.", q.Within),
		}
		return list.print(s, asCSV, func(write func(*manage.EndingKey) error) error { return s.forecast(q, write) })
	})
}

// forecastPage is how many keys are in memory at a time. There can be a million.
const forecastPage = 500

// forecast reads the forecast in parts.
func (s *session) forecast(q manage.ForecastQuery, write func(*manage.EndingKey) error) error {
	for q.Limit = forecastPage; ; {
		page, err := s.manager.Forecast(s.ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := write(&page.Items[i]); err != nil {
				return err
			}
		}
		if q.Cursor = string(page.Next); q.Cursor == "" {
			return nil
		}
	}
}

var forecastColumns = []string{
	"ends_at", "ends_by", "key_id", "account_id", "account_name", "label", "origin", "status", "expires_at", "last_used_at",
	"requests", "refused", "audio_seconds", "stream_seconds", "jobs", "grace_until", "children", "limits_used",
}

// forecastRow returns the values of forecastColumns.
func forecastRow(k *manage.EndingKey) []string {
	expires := ""
	if at, ok := k.ExpiresAt.Time(); ok {
		expires = at.String()
	}
	return []string{
		k.EndsAt.String(), k.EndsBy, k.ID, k.AccountID, noFormula(k.AccountName), noFormula(k.Label), k.Origin, k.Status, expires, timeOrEmpty(k.LastUsedAt),
		strconv.FormatInt(k.Requests, 10), strconv.FormatInt(k.Refused, 10), decimal(k.AudioSeconds), decimal(k.StreamSeconds),
		strconv.Itoa(k.Jobs), timeOrEmpty(k.GraceUntil), strconv.Itoa(k.Children), limitsUsed(k),
	}
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

var forecastHeader = []string{"ENDS", "BY", "KEY ID", "ACCOUNT", "LABEL", "LAST USED", "REQUESTS", "JOBS", "CHILDREN", "LIMITS"}

// forecastCells returns the line of a key in the table for people.
func forecastCells(k *manage.EndingKey) []string {
	children := strconv.Itoa(k.Children)
	if k.Children == manage.MostChildrenCounted {
		children += "+"
	}
	return []string{
		shortTime(k.EndsAt, ""), k.EndsBy, k.ID, k.AccountName, orDash(k.Label), shortTime(k.LastUsedAt, "never"),
		strconv.FormatInt(k.Requests, 10), strconv.Itoa(k.Jobs), children, orDash(limitsUsed(k)),
	}
}
