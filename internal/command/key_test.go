package command

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// expiryNow is when the tests of --expires take place.
var expiryNow = policy.At(time.Date(2026, 11, 23, 10, 20, 30, 456e6, time.UTC))

func TestParseExpiry(t *testing.T) {
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
		{"20000w", "2410-03-15T10:20:30.456Z"},
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
			got, err := parseExpiry(test.text, expiryNow)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestParseExpiryRefuses(t *testing.T) {
	t.Parallel()
	const (
		past     = "which is past"
		negative = "that is negative"
		far      = "beyond the year 9999"
		noDay    = "no such day"
		noMoment = "no such instant"
		noTime   = "that is no time"
	)
	tests := []struct{ text, why string }{
		{"0s", "as it is issued"},
		{"000d", "as it is issued"},
		{"-5m", negative},
		{"-0s", negative},
		{"9999999d", far},
		{"9223372036854775807ms", far},
		{"9223372036854775808ms", far},
		{"99999999999999999999999w", far},
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
		{"+30d", noTime},
		{"1.5h", noTime},
		{"1h30m", noTime},
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
			got, err := parseExpiry(test.text, expiryNow)
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
func TestParseExpiryErrorsShowRightExamples(t *testing.T) {
	t.Parallel()
	_, err := parseExpiry("soon", expiryNow)
	if err == nil {
		t.Fatal("soon was accepted")
	}
	for _, example := range []string{"30d", "2026-12-23", "2026-12-23T10:00:00Z", "never"} {
		if !strings.Contains(err.Error(), example) {
			t.Errorf("the error %q does not show %s", err, example)
		}
		if _, err := parseExpiry(example, expiryNow); err != nil {
			t.Errorf("the example %s is refused: %v", example, err)
		}
	}
}

func TestShownHidesWhatMayBeASecret(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"acount", `"acount"`},
		{"key_0123456789abcdefghij", `"key_0123456789abcdefghij"`},
		{"sgk_0123456789abcdefghijklmnopqrstuvABCDEF", `"sgk_…"`},
		{"0123456789abcdef0123456789abcdef", `"0123…"`},
		{"two\nlines", `"two\nlines"`},
	}
	for _, test := range tests {
		if got := words.Quote(test.text); got != test.want {
			t.Errorf("words.Quote(%q) is %s, want %s", test.text, got, test.want)
		}
	}
	// A service password that a person chose, where an ID or nothing belongs.
	if got := words.QuoteArgument("sunshine"); got != `"suns…"` {
		t.Errorf("an argument is shown as %s", got)
	}
	for text, want := range map[string]string{"account-list": `"account-list"`, "sunshine1": `"suns…"`, "Sunshine": `"Suns…"`, "x": `"x"`} {
		if got := words.QuoteWord(text); got != want {
			t.Errorf("the word %q is shown as %s, want %s", text, got, want)
		}
	}
}

func TestGates_graceOfAJob(t *testing.T) {
	t.Parallel()
	found, err := gatesOf([]byte(`{"servers": {"srv0": {"routes": [
		{"handle": [{"handler": "subroute", "routes": [
			{"handle": [{"handler": "speechgate", "dialect": "amivoice", "grace": 3600000000000}]},
			{"handle": [{"handler": "speechgate", "dialect": "amivoice", "grace": "2h", "grace_after_end": "10m"}]}
		]}]},
		{"handle": [{"handler": "speechgate", "dialect": "amivoice", "backend": "none", "grace": 0}]},
		{"handle": [{"handler": "speechgate", "dialect": "amivoice", "backend": "default"}]}
	]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	created := policy.At(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	tests := []struct {
		name, backend string
		ended         time.Duration // 0 for not ended
		want          time.Duration // 0 for no grace
	}{
		{"the longest of two gates", "amivoice", 0, 2 * time.Hour},
		{"an end that cuts one of them", "amivoice", 5 * time.Minute, time.Hour},
		{"an end that leaves it the longest", "amivoice", 55 * time.Minute, 65 * time.Minute},
		{"none", "none", 0, 0},
		{"the default of a gate", "default", 0, 24 * time.Hour},
		{"the default of an unknown backend", "elsewhere", time.Minute, 24 * time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			job := policy.Job{Backend: test.backend, CreatedAt: created}
			if test.ended > 0 {
				job.EndedAt = created.Add(test.ended)
			}
			var want policy.Time
			if test.want > 0 {
				want = created.Add(test.want)
			}
			if got := found.until(&job); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestGates_whereKeysAreIssued(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config string // of the HTTP app; empty if none is named
		paths  []string
	}{
		"no configuration":   {"", []string{issue.DefaultPath}},
		"no HTTP app":        {"null", nil},
		"no issuance API":    {`{"routes": [{"handle": [{"handler": "speechgate"}]}]}`, nil},
		"at the default":     {`{"routes": [{"handle": [{"handler": "speechgate_issue"}]}]}`, []string{issue.DefaultPath}},
		"at two of its own":  {`[{"handler": "speechgate_issue", "path": "/a"}, {"handler": "subroute", "routes": [{"handler": "speechgate_issue", "path": "/b"}]}]`, []string{"/a", "/b"}},
		"with every option":  {`[{"handler": "speechgate_issue", "default_lifetime": 1000000000, "max_lifetime": "1h", "cors": ["*"]}]`, []string{issue.DefaultPath}},
		"in a handler's box": {`[{"handler": "speechgate_issue", "path": "/a", "handle": [{"handler": "speechgate_issue", "path": "/b"}]}]`, []string{"/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found gates
			if tt.config != "" {
				var err error
				if found, err = gatesOf([]byte(tt.config)); err != nil {
					t.Fatal(err)
				}
			}
			for _, path := range []string{issue.DefaultPath, "/a", "/b", "/a/", "/"} {
				if got := found.issues(path); got != slices.Contains(tt.paths, path) {
					t.Errorf("issues at %s: %v", path, got)
				}
			}
		})
	}
}
