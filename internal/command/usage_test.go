package command

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/keystore"
)

func TestSpanFlag(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want time.Duration
		why  string
	}{
		{"0", 0, ""},
		{"0s", 0, ""},
		{"1ms", time.Millisecond, ""},
		{"24h", 24 * time.Hour, ""},
		{"2w", 14 * 24 * time.Hour, ""},
		{"36525d", 36525 * 24 * time.Hour, ""},
		{"36526d", 0, "more than a hundred years"},
		{"99999999999999999999d", 0, "more than a hundred years"},
		{"-1h", 0, "negative"},
		{"1", 0, "no time"},
		{"1h30m", 0, "no time"},
		{"1 h", 0, "no time"},
		{"", 0, "is empty"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			cmd := new(cobra.Command)
			cmd.Flags().String("overlap", "24h", "")
			if err := cmd.Flags().Set("overlap", test.text); err != nil {
				t.Fatal(err)
			}
			got, err := spanFlag(cmd, "overlap")
			if got != test.want || (err != nil) != (test.why != "") || err != nil && !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %s, %v; want %s and an error that says %q", got, err, test.want, test.why)
			}
		})
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want, why string }{
		{"1h", "2026-11-23T09:20:30.456Z", ""},
		{"0s", "2026-11-23T10:20:30.456Z", ""},
		{"2w", "2026-11-09T10:20:30.456Z", ""},
		{"2026-11-23", "2026-11-23T00:00:00.000Z", ""},
		{"2026-11-23T19:20:30+09:00", "2026-11-23T10:20:30.000Z", ""},
		{"2026-11-24", "", "yet to come"},
		{"2026-11-23T10:20:31Z", "", "yet to come"},
		{"2026-02-30", "", "no such day"},
		{"2026-11-23T10:20:30", "", "no such instant"},
		{"-1h", "", "negative"},
		{"9999999w", "", "more than a hundred years ago"},
		{"last week", "", "no time"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := parseSince(test.text, expiryNow)
			if test.why == "" && (err != nil || got.String() != test.want) {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
			if test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)) {
				t.Errorf("got %s, %v; want an error that says %q", got, err, test.why)
			}
		})
	}
}

func TestKeyFilter_SelectsByTimesFromNow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		filter keyFilter
		want   keystore.KeyList
	}{
		{keyFilter{}, keystore.KeyList{}},
		{keyFilter{account: "acc_1", issuer: "key_1", status: "expired"}, keystore.KeyList{AccountID: "acc_1", IssuerID: "key_1", Status: "expired"}},
		{keyFilter{expiring: time.Hour}, keystore.KeyList{ExpiresBy: expiryNow.Add(time.Hour)}},
		{keyFilter{unused: day30}, keystore.KeyList{UnusedSince: expiryNow.Add(-day30)}},
	} {
		test.want.Now = expiryNow
		if got := test.filter.list(expiryNow); got != test.want {
			t.Errorf("%+v: got %+v, want %+v", test.filter, got, test.want)
		}
	}
}

func TestAllPages_ReadsUntilThereIsNoNextPage(t *testing.T) {
	t.Parallel()
	pages := map[string][]int{"": {1, 2}, "a": {}, "b": {3}}
	next := map[string]string{"": "a", "a": "b"}
	all, err := allPages(func(cursor string) ([]int, string, error) { return pages[cursor], next[cursor], nil })
	if !slices.Equal(all, []int{1, 2, 3}) || err != nil {
		t.Errorf("got %v, %v", all, err)
	}
	fails := errors.New("the second page fails")
	all, err = allPages(func(cursor string) ([]int, string, error) {
		if cursor != "" {
			return nil, "", fails
		}
		return []int{1}, "a", nil
	})
	if all != nil || !errors.Is(err, fails) {
		t.Errorf("got %v, %v; want no entries, and the error", all, err)
	}
}

const day30 = 30 * 24 * time.Hour
