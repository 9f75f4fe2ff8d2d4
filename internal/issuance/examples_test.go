package issuance

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// examplesIn returns the examples in an error text.
func examplesIn(text string) (found []string) {
	for _, m := range regexp.MustCompile(`\(([^)]*)\)|such as (\S+) or ([0-9/]+ [0-9:.]+Z)`).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1:]...)
	}
	return slices.DeleteFunc(found, func(s string) bool { return s == "" })
}

// The examples in a refusal are accepted, however short the longest lifetime is.
func TestIssue_ExamplesOfErrorsAreAccepted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, longest := range []time.Duration{
		0, time.Millisecond, 999 * time.Millisecond, time.Second, 1500 * time.Millisecond, 30 * time.Second, 59 * time.Second, time.Minute,
		90 * time.Second, time.Hour, 90 * time.Minute, 24 * time.Hour, 36 * time.Hour, 47 * time.Hour, 48 * time.Hour, 49 * time.Hour, 7 * 24 * time.Hour, 9000 * time.Hour,
	} {
		for _, zone := range []*time.Location{time.UTC, time.FixedZone("", 9*3600), time.FixedZone("", -11*3600)} {
			t.Run(fmt.Sprint(longest, zone), func(t *testing.T) {
				t.Parallel()
				authority := New(Settings{DefaultLifetime: time.Millisecond, MaxLifetime: longest, Zone: zone})
				for _, epi := range []string{"1h30m", "1.5h", "0", "2020/01/01", "31/2/3", "2031-02-03 10:00", " ", "9999999999999999", "1000w", "2040/01/01"} {
					got := authority.Issue(t.Context(), start, client, false, f, f.byService(epi, ""))
					if got.Status == http.StatusOK && longest == 0 {
						continue // what is long is right there
					}
					right := examplesIn(got.Text)
					if got.Status != http.StatusBadRequest || len(right) < 2 {
						t.Fatalf("epi %s: %d %s, with examples %q", epi, got.Status, got.Text, right)
					}
					for _, example := range right {
						if again := authority.Issue(t.Context(), start, client, false, f, f.byService(example, "")); again.Status != http.StatusOK {
							t.Errorf("%s shows %s, and of that says %s", got.Text, example, again.Text)
						}
					}
				}
			})
		}
	}
}

func TestIssue_SaysHowLongKeysLive(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for longest, want := range map[time.Duration]string{
		24 * time.Hour:          `epi "2040/02/03": that is longer than keys live here: want 24h at most, such as 24h or 2030/03/18 17:00:00Z.`,
		7 * 24 * time.Hour:      `epi "2040/02/03": that is longer than keys live here: want 7d at most, such as 7d or 2030/03/24 17:00:00Z.`,
		90 * time.Second:        `epi "2040/02/03": that is longer than keys live here: want 90s at most, such as 90s or 2030/03/17 17:48:10Z.`,
		1500 * time.Millisecond: `epi "2040/02/03": that is longer than keys live here: want 1500 milliseconds at most, such as 1500 or 2030/03/17 17:46:41.500Z.`,
	} {
		authority := New(Settings{DefaultLifetime: time.Millisecond, MaxLifetime: longest, Zone: time.UTC})
		if got := authority.Issue(t.Context(), start, client, false, f, f.byService("2040/02/03", "")); got.Text != want || got.Status != http.StatusBadRequest {
			t.Errorf("%d %s, want %s", got.Status, got.Text, want)
		}
	}
	authority := New(Settings{DefaultLifetime: time.Millisecond, MaxLifetime: time.Hour, Zone: time.UTC})
	got := authority.Issue(t.Context(), start, client, false, f, f.byService("2020/01/01", ""))
	const want = `epi "2020/01/01": that is 2020/01/02 00:00:00.000+00:00, which is past: ` +
		"want milliseconds from now (60000), a number of s, m, h, d or w from now (30s) or an instant (2030/03/17 18:46:00Z), and 1h at most."
	if got.Text != want {
		t.Errorf("%s, want %s", got.Text, want)
	}
}

// The forms of an epi that an error shows depend on the longest lifetime: a date only if its
// end is not too late, and an instant as short as it can be.
func TestParseExpiry_TheFormsInAnErrorFitTheLongestLifetime(t *testing.T) {
	t.Parallel()
	midnight := policy.At(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	const units, late = ", a number of s, m, h, d or w from now (30s)", 48 * time.Hour
	for _, tt := range []struct {
		now     policy.Time
		offset  int // of the zone, in hours
		longest time.Duration
		want    string
	}{
		{start, 0, 0, "milliseconds from now (60000)" + units + ", a date (2030/04/16) or an instant (2030/04/16 17:00:00Z)"},
		{start, 0, 7 * 24 * time.Hour, "milliseconds from now (60000)" + units + ", a date (2030/03/23) or an instant (2030/03/24 17:00:00Z), and 7d at most"},
		{start, 0, late, "milliseconds from now (60000)" + units + ", a date (2030/03/18) or an instant (2030/03/19 17:00:00Z), and 2d at most"},
		{midnight, -12, late, "milliseconds from now (60000)" + units + ", a date (2030/01/01) or an instant (2030/01/03 00:00:00Z), and 2d at most"},
		{start, 0, late - time.Millisecond, "milliseconds from now (60000)" + units + " or an instant (2030/03/19 17:00:00Z), and 172799999 milliseconds at most"},
		{start, 0, 2 * time.Hour, "milliseconds from now (60000)" + units + " or an instant (2030/03/17 19:00:00Z), and 2h at most"},
		{start, 0, 2*time.Hour - time.Second, "milliseconds from now (60000)" + units + " or an instant (2030/03/17 19:46:00Z), and 7199s at most"},
		{start, 0, 2 * time.Minute, "milliseconds from now (60000)" + units + " or an instant (2030/03/17 17:48:00Z), and 2m at most"},
		{start, 0, 2*time.Minute - time.Second, "milliseconds from now (60000)" + units + " or an instant (2030/03/17 17:48:39Z), and 119s at most"},
		{start, 0, 2 * time.Second, "milliseconds from now (2000), a number of s, m, h, d or w from now (2s) or an instant (2030/03/17 17:46:42Z), and 2s at most"},
		{start, 0, 2*time.Second - 1, "milliseconds from now (1999), a number of s, m, h, d or w from now (1s) or an instant (2030/03/17 17:46:41.999Z), and 1999 milliseconds at most"},
		{start, 0, 250 * time.Millisecond, "milliseconds from now (250) or an instant (2030/03/17 17:46:40.250Z), and 250 milliseconds at most"},
	} {
		_, err := ParseExpiry("never", tt.now, time.FixedZone("", tt.offset*3600), tt.longest)
		if want := `epi "never": that is no time: want ` + tt.want; err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", tt.longest, err, want)
		}
	}
}

func TestParseExpiry_ExamplesAreReadAtAnyTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := policy.Time(rapid.Int64Range(0, int64(policy.LastTime)/2).Draw(t, "now"))
		longest := time.Duration(rapid.OneOf(rapid.Int64Range(1, 1e5), rapid.Int64Range(1, 1e10)).Draw(t, "longest")) * time.Millisecond
		zone := time.FixedZone("", rapid.IntRange(-14*3600, 14*3600).Draw(t, "zone"))
		for _, epi := range []string{"nonsense", "9999999999999"} {
			_, err := ParseExpiry(epi, now, zone, longest)
			if err == nil || !strings.Contains(err.Error(), "at most") {
				t.Fatalf("epi %s: %v", epi, err)
			}
			for _, example := range examplesIn(err.Error()) {
				if _, wrong := ParseExpiry(example, now, zone, longest); wrong != nil {
					t.Fatalf("%v shows %s, and of that says %v", err, example, wrong)
				}
			}
		}
	})
}
