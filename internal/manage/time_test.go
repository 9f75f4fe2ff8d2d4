package manage

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// noon is the time of the tests.
var noon = policy.At(time.Date(2026, 11, 23, 10, 20, 30, 456e6, time.UTC))

func TestParseExpiry_ReadsSpansDatesAndInstants(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		// times from now
		{"1ms", "2026-11-23T10:20:30.457Z"},
		{"544ms", "2026-11-23T10:20:31.000Z"},
		{"1s", "2026-11-23T10:20:31.456Z"},
		{"90s", "2026-11-23T10:22:00.456Z"},
		{"5m", "2026-11-23T10:25:30.456Z"},
		{"36h", "2026-11-24T22:20:30.456Z"},
		{"30d", "2026-12-23T10:20:30.456Z"},
		{"007d", "2026-11-30T10:20:30.456Z"},
		{"2w", "2026-12-07T10:20:30.456Z"},
		{"15000w", "2314-05-18T10:20:30.456Z"},
		{"+30d", "2026-12-23T10:20:30.456Z"},
		{"1.5h", "2026-11-23T11:50:30.456Z"},
		{"1h30m", "2026-11-23T11:50:30.456Z"},
		{"1w2d3h4m5s6ms", "2026-12-02T13:24:35.462Z"},
		// dates, to their end
		{"2026-11-23", "2026-11-24T00:00:00.000Z"},
		{"2026-12-31", "2027-01-01T00:00:00.000Z"},
		{"2028-02-29", "2028-03-01T00:00:00.000Z"},
		{"9999-12-30", "9999-12-31T00:00:00.000Z"},
		// instants
		{"2026-11-23T10:20:30.457Z", "2026-11-23T10:20:30.457Z"},
		{"2026-12-31T18:00:00Z", "2026-12-31T18:00:00.000Z"},
		{"2026-12-31T18:00:00+09:00", "2026-12-31T09:00:00.000Z"},
		{"2026-12-31T18:00:00.1234567Z", "2026-12-31T18:00:00.123Z"},
		{"9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
		{"never", "never"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := parseExpiry(test.text, noon)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestParseExpiry_RefusesWhatIsNotAnExpiry(t *testing.T) {
	t.Parallel()
	const (
		past     = "which is past"
		negative = "that is negative"
		far      = "beyond the year 9999"
		long     = "that is longer than 106751d"
		noDay    = "no such day"
		noMoment = "no such instant"
		noTime   = "that is no time"
	)
	tests := []struct{ text, why string }{
		{"0s", "as it is issued"},
		{"000d", "as it is issued"},
		{"-5m", negative},
		{"-0s", negative},
		{"0", "as it is issued"},
		{"1us", "not a whole number of milliseconds"},
		{"1.0005s", "not a whole number of milliseconds"},
		{"106752d", long},
		{"15251w", long},
		{"9223372036854775807ms", long},
		{"9223372036854775808ms", long},
		{"99999999999999999999999w", long},
		{"-99999999999999999999999w", negative},
		{"9999-12-31", far},
		{"2026-11-22", past},
		{"1970-01-01", past},
		{"0000-01-01", past},
		{"2026-11-23T10:20:30.456Z", past},
		{"2026-11-23T10:20:30.4569Z", past}, // the same millisecond
		{"2026-11-23T19:20:30+09:00", past},
		{"2026-02-30", noDay},
		{"2027-02-29", noDay},
		{"2026-13-01", noDay},
		{"2026-00-10", noDay},
		{"2026-12-31T18:00:00", noMoment}, // without a time zone
		{"2026-12-31T18:00Z", noMoment},
		{"2026-12-31T25:00:00Z", noMoment},
		{"2026-12-31T23:59:60Z", noMoment},
		{"2026-12-31T18:00:00,5Z", noMoment},
		{"2026-12-31T18:00:00+24:00", noMoment},
		{"2026-12-31T18:00:00+0900", noMoment},
		{"2026-12-31T8:00:00Z", noTime},
		{"2026-12-31t18:00:00z", noMoment},
		{"2026-12-31 18:00:00Z", noMoment},
		{"2027-02-29T00:00:00Z", noMoment},
		{"", noTime},
		{" 30d", noTime},
		{"30", noTime},
		{"30D", noTime},
		{"30 d", noTime},
		{"1h30", noTime},
		{"1h 30m", noTime},
		{"1h-30m", noTime},
		{"1y", noTime},
		{"３０d", noTime},
		{"31/12/2026", noTime},
		{"2026-1-1", noTime},
		{"tomorrow", noTime},
		{"Never", noTime},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := parseExpiry(test.text, noon)
			if err == nil {
				t.Fatalf("got %s, want an error", got)
			}
			if !strings.Contains(err.Error(), test.why) {
				t.Errorf("got the error %q, want one that says %q", err, test.why)
			}
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("the error %q is not one line", err)
			}
		})
	}
}

// The examples that an error gives have to be right ones.
func TestParseExpiry_ErrorsShowExamplesThatAreRight(t *testing.T) {
	t.Parallel()
	_, err := parseExpiry("soon", noon)
	if err == nil {
		t.Fatal("soon was accepted")
	}
	for _, example := range []string{"90s", "24h", "7d", "2026-12-23", "2026-12-23T10:00:00Z", "never"} {
		if !strings.Contains(err.Error(), example) {
			t.Errorf("the error %q does not show %s", err, example)
		}
		if _, err := parseExpiry(example, noon); err != nil {
			t.Errorf("the example %s is refused: %v", example, err)
		}
	}
}

func TestParseSpanOf_ReadsUpToAHundredYears(t *testing.T) {
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
		{"1h30m", 90 * time.Minute, ""},
		{"1", 0, "no duration: want a duration such as 90s, 24h or 7d"},
		{"1 h", 0, "no duration"},
		{"", 0, "no duration"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := parseSpanOf("overlap", test.text)
			if got != test.want || (err != nil) != (test.why != "") || err != nil && !strings.Contains(err.Error(), test.why) {
				t.Errorf("got %s, %v; want %s and an error that says %q", got, err, test.want, test.why)
			}
		})
	}
}

func TestParsePositiveSpan_RefusesZeroAndLeavesOutEmpty(t *testing.T) {
	t.Parallel()
	if span, err := parsePositiveSpan("unused", ""); span != 0 || err != nil {
		t.Errorf("an empty text is %s, %v", span, err)
	}
	if span, err := parsePositiveSpan("unused", "2h"); span != 2*time.Hour || err != nil {
		t.Errorf("2h is %s, %v", span, err)
	}
	for _, text := range []string{"0", "0d", "000w"} {
		_, err := parsePositiveSpan("unused", text)
		if err == nil || !strings.HasPrefix(err.Error(), "unused: that is no time at all: want ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParseSince_ReadsWhatIsPast(t *testing.T) {
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
		{"36525d", "1926-11-23T10:20:30.456Z", ""},
		{"36526d", "", "more than a hundred years ago"},
		{"9999999w", "", "more than a hundred years ago"},
		{"last week", "", "no time"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := parseSince(test.text, noon)
			if test.why == "" && (err != nil || got.String() != test.want) {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
			if test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)) {
				t.Errorf("got %s, %v; want an error that says %q", got, err, test.why)
			}
		})
	}
}

func TestParseUntil_IsLaterThanTheBeginning(t *testing.T) {
	t.Parallel()
	since, err := parseSince("2026-11-20", noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ text, want, why string }{
		{"1h", "2026-11-23T09:20:30.456Z", ""},
		{"2026-11-20", "2026-11-21T00:00:00.000Z", ""}, // to its end
		{"2099-12-31", "2100-01-01T00:00:00.000Z", ""},
		{"2026-11-23T19:20:30+09:00", "2026-11-23T10:20:30.000Z", ""},
		{"2026-11-19", "", "that is 2026-11-20T00:00:00.000Z, which is not later than the beginning, 2026-11-20T00:00:00.000Z"},
		{"30d", "", "not later than the beginning"},
		{"2026-02-30", "", "no such day"},
		{"-1h", "", "negative"},
		{"36525d", "", "not later than the beginning"},
		{"36526d", "", "more than a hundred years ago"},
		{"9999999w", "", "more than a hundred years ago"},
		{"last week", "", "no time"},
	} {
		got, err := parseUntil(test.text, since, noon)
		if test.why == "" && (err != nil || got.String() != test.want) {
			t.Errorf("%s: got %s, %v; want %s", test.text, got, err, test.want)
		}
		if test.why != "" && (err == nil || !strings.Contains(err.Error(), test.why)) {
			t.Errorf("%s: got %s, %v; want an error that says %q", test.text, got, err, test.why)
		}
	}
}

func TestParseExpiry_ReadsBackEveryInstantThatItCanShow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := policy.Time(rapid.Int64Range(int64(noon)+1, int64(policy.LastTime)).Draw(t, "at"))
		got, err := parseExpiry(at.String(), noon)
		if err != nil || got != policy.ExpiresAt(at) {
			t.Fatalf("%s is %s, %v", at, got, err)
		}
	})
}

func TestParseExpiry_ADateLastsToItsEndInUTC(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.IntRange(0, 365*7000).Draw(t, "days")
		day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).AddDate(0, 0, days)
		got, err := parseExpiry(day.Format(time.DateOnly), noon)
		if want := policy.At(day.Add(24 * time.Hour)); err != nil || got != policy.ExpiresAt(want) {
			t.Fatalf("%s is %s, %v; want %s", day.Format(time.DateOnly), got, err, want)
		}
		since, err := parseSince(day.AddDate(0, 0, -days-days%1000).Format(time.DateOnly), noon)
		if err != nil || since > noon || since%(24*60*60*1000) != 0 {
			t.Fatalf("since %s, %v", since, err)
		}
	})
}

func TestParseSince_CountsSpansBackFromNow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, longestSpan.Milliseconds()).Draw(t, "ms")
		zeros := rapid.SampledFrom([]string{"", "0", "00"}).Draw(t, "zeros")
		got, err := parseSince(zeros+strconv.FormatInt(ms, 10)+"ms", noon)
		if want := noon - policy.Time(ms); err != nil || got != want {
			t.Fatalf("%d ms ago is %s, %v; want %s", ms, got, err, want)
		}
	})
}

func FuzzTimes(f *testing.F) {
	for _, seed := range []string{
		"", "0", "30d", "-5m", "007d", "99999999999999999999w", "9223372036854775807ms", "never", "Never",
		"2026-11-23", "2026-02-30", "0000-01-01", "9999-12-31", "1h30m", ".5d", "1.h", "+1w", "106752d", "1us", "2026-12-31T18:00:00Z", "2026-12-31T18:00:00+09:00",
		"2026-12-31T23:59:60Z", "2026-12-31T18:00:00,5Z", "2026-12-31 18:00:00Z", "sgk_0123456789abcdefghij", "two\nlines",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkMistake := func(err error) {
			if !errors.Is(err, keystore.ErrInvalid) || strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 500 {
				t.Errorf("%q: the error %q is not one short line", text, err)
			}
		}
		if expires, err := parseExpiry(text, noon); err != nil {
			checkMistake(err)
		} else if at, ok := expires.Time(); ok != (text != Never) || ok && (at <= noon || at > policy.LastTime) {
			t.Errorf("the expiry %q is %s", text, expires)
		} else if again, err := parseExpiry(expires.String(), noon); err != nil || again != expires {
			t.Errorf("the expiry %q is %s, which is %s, %v", text, expires, again, err)
		}
		if since, err := parseSince(text, noon); err != nil {
			checkMistake(err)
		} else if since > noon {
			t.Errorf("since %q is %s, which is later than now", text, since)
		}
		if at, err := parseAt(text, noon); err != nil {
			checkMistake(err)
		} else if got, err := time.Parse(time.RFC3339, text); err != nil || policy.At(got) != at {
			t.Errorf("the instant %q is %s, and the standard library has %s, %v", text, at, got, err)
		}
		if span, err := parseSpanOf("overlap", text); err != nil {
			checkMistake(err)
		} else if span < 0 || span > longestSpan {
			t.Errorf("the span %q is %s", text, span)
		}
	})
}
