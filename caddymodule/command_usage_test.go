package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/policy"
)

func TestNearest(t *testing.T) {
	words := []string{"--account", "--allow", "--expires", "--label", "--issued-by"}
	tests := []struct{ typed, want string }{
		{"--acount", "--account"},
		{"--accuont", "--account"}, // two letters swapped
		{"--Label", "--label"},
		{"--expire", "--expires"},
		{"--issuedby", "--issued-by"},
		{"--alow", "--allow"},
		{"--name", ""},
		{"--", ""},
		{"", ""},
		{"--音声", ""},
	}
	for _, test := range tests {
		if got := nearest(test.typed, words); got != test.want {
			t.Errorf("nearest(%q) is %q, want %q", test.typed, got, test.want)
		}
	}
}

func TestAlternatives(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := alternatives(words); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSpanFlag(t *testing.T) {
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

func TestKeyFilter(t *testing.T) {
	at := func(d time.Duration) policy.Time { return expiryNow.Add(d) }
	key := func(created, used policy.Time, expires policy.Expiry) policy.Key {
		return policy.Key{AccountID: "acc_1", AccountOpen: true, CreatedAt: created, LastUsedAt: used, Expires: expires}
	}
	tests := []struct {
		name   string
		filter keyFilter
		key    policy.Key
		want   bool
	}{
		{"everything", keyFilter{}, key(at(-1), 0, policy.Never()), true},
		{"another account", keyFilter{account: "acc_2"}, key(at(-1), 0, policy.Never()), false},
		{"expires within", keyFilter{expiring: time.Hour}, key(at(-1), 0, policy.ExpiresAt(at(time.Hour))), true},
		{"expires after", keyFilter{expiring: time.Hour}, key(at(-1), 0, policy.ExpiresAt(at(time.Hour)+1)), false},
		{"never expires", keyFilter{expiring: time.Hour}, key(at(-1), 0, policy.Never()), false},
		{"has expired", keyFilter{expiring: time.Hour}, key(at(-time.Hour), 0, policy.ExpiresAt(at(-1))), false},
		{"not used for so long", keyFilter{unused: time.Hour}, key(at(-day30), at(-time.Hour), policy.Never()), true},
		{"used within", keyFilter{unused: time.Hour}, key(at(-day30), at(-time.Hour)+1, policy.Never()), false},
		{"never used, and old", keyFilter{unused: time.Hour}, key(at(-time.Hour), 0, policy.Never()), true},
		{"never used, and young", keyFilter{unused: time.Hour}, key(at(-time.Hour)+1, 0, policy.Never()), false},
		{"not used, and expired", keyFilter{unused: time.Hour}, key(at(-day30), 0, policy.ExpiresAt(at(-1))), false},
		{"both", keyFilter{unused: time.Hour, expiring: time.Hour}, key(at(-day30), 0, policy.ExpiresAt(at(time.Minute))), true},
		{"one of both", keyFilter{unused: time.Hour, expiring: time.Hour}, key(at(-day30), 0, policy.Never()), false},
		{"active", keyFilter{status: "active"}, key(at(-1), 0, policy.Never()), true},
		{"not active", keyFilter{status: "expired"}, key(at(-1), 0, policy.Never()), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.filter.fits(test.key, expiryNow); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

const day30 = 30 * 24 * time.Hour
