package command

import (
	"strconv"

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
	asCSV, err := csvFlag(cmd)
	if err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		list := records[manage.Usage]{columns: usageColumns, row: usageRow, table: usageTable(q.By), none: "There is no usage."}
		return list.print(s, asCSV, func(write func(*manage.Usage) error) error { return s.manager.Usage(s.ctx, q, write) })
	})
}

var usageColumns = []string{"at", "account_id", "key_id", "operation", "reason", "requests", "refused", "audio_bytes", "audio_seconds", "stream_seconds"}

// usageRow returns the values of usageColumns.
func usageRow(u *manage.Usage) []string {
	return append([]string{timeOrEmpty(u.At), string(u.AccountID), string(u.KeyID), string(u.Operation), string(u.Reason)}, usageNumbers(u)...)
}

func usageNumbers(u *manage.Usage) []string {
	return []string{
		strconv.FormatInt(u.Requests, 10), strconv.FormatInt(u.Refused, 10), strconv.FormatInt(u.AudioBytes, 10),
		decimal(u.AudioSeconds), decimal(u.StreamSeconds),
	}
}

// usageTable returns the table for people, with one line for each hour, day, key and so on.
func usageTable(by string) recordTable[manage.Usage] {
	var header []string
	var name func(*manage.Usage) []string
	switch by {
	case "hour":
		header, name = []string{"HOUR"}, func(u *manage.Usage) []string { return []string{shortTime(u.At, "-")} }
	case "day":
		header, name = []string{"DAY"}, func(u *manage.Usage) []string { return []string{u.At.Std().Format("2006-01-02")} }
	case "key":
		header, name = []string{"KEY ID", "ACCOUNT ID"}, func(u *manage.Usage) []string { return []string{string(u.KeyID), string(u.AccountID)} }
	case "operation":
		header, name = []string{"OPERATION"}, func(u *manage.Usage) []string { return []string{string(u.Operation)} }
	case "reason":
		header, name = []string{"REASON"}, func(u *manage.Usage) []string { return []string{string(u.Reason)} }
	default:
		name = func(*manage.Usage) []string { return nil }
	}
	return recordTable[manage.Usage]{
		header: append(header, "REQUESTS", "REFUSED", "AUDIO BYTES", "AUDIO SECONDS", "STREAM SECONDS"),
		cells:  func(u *manage.Usage) []string { return append(name(u), usageNumbers(u)...) },
	}
}
