package issuance_test

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/policy"
)

// checkError checks that an error is one line with the text, which is cut if it is long,
// and with the forms.
func checkError(t testing.TB, err error, text string) {
	t.Helper()
	begin := "epi " + strconv.Quote(text) + ": "
	if len(text) > 60 {
		begin = "epi " + strconv.Quote(text[:60]) + "...: "
	}
	if policy.HoldsSecret(text) {
		begin = "epi (hidden): "
	}
	says := err.Error()
	if !strings.HasPrefix(says, begin) || !strings.Contains(says, "want milliseconds") || strings.Contains(says, "\n") || len(says) > 700 {
		t.Errorf("the error is %q, want it to begin with %q, and to show the forms", says, begin)
	}
}

func TestParseExpiry_ErrorsShowWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	_, err := issuance.ParseExpiry("1h30m", start, tokyo, 0)
	want := `epi "1h30m": a time from now has one unit only, the smaller one if need be: ` +
		"want milliseconds from now (60000), a number of s, m, h, d or w from now (30s), a date (2030/01/31) or an instant (2030/01/31 00:00:00Z)"
	if err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
	for _, right := range []string{"60000", "30s", "2030/01/31", "2030/01/31 00:00:00Z"} {
		if _, err := issuance.ParseExpiry(right, start, tokyo, 0); err != nil {
			t.Error(err)
		}
	}
}

func TestParseExpiry_AnErrorShowsAPastInstantInAReadableForm(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		z := aZone().Draw(t, "zone")
		at := policy.Time(rapid.Int64Range(0, int64(start)).Draw(t, "at"))
		_, err := issuance.ParseExpiry(issuance.FormatExpiry(at, z), start, z, 0)
		if err == nil {
			t.Fatalf("%v is not past", at)
		}
		_, text, _ := strings.Cut(err.Error(), ": that is ")
		text, _, ok := strings.Cut(text, ", which is past: want ")
		if got, err := issuance.ParseExpiry(text, math.MinInt64, z, 0); !ok || err != nil || got != at {
			t.Fatalf("%v is shown as %q, which is %v, %v", at, text, got, err)
		}
	})
}

func TestParseExpiry_ErrorsShowNoSecretAndLittleElse(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{policy.KeyPrefix, policy.ServicePasswordPrefix} {
		secret := aSecret(t, prefix)
		for _, text := range []string{secret, "30s" + secret, strings.Repeat("x", 40) + secret + "x", "2031/02/03 10:00:00" + secret} {
			_, err := issuance.ParseExpiry(text, start, tokyo, 0)
			if err == nil {
				t.Fatal("a secret is read as a time")
			}
			if !strings.HasPrefix(err.Error(), "epi (hidden): ") || strings.Contains(err.Error(), secret[len(prefix):len(prefix)+8]) {
				t.Error("the error shows a part of the secret")
			}
		}
	}
	for _, n := range []int{60, 61, 1_000_000} {
		_, err := issuance.ParseExpiry(strings.Repeat("\xff", n), start, tokyo, 0)
		checkError(t, err, strings.Repeat("\xff", n))
	}
}

var zoneNames = []string{
	"UTC", "Asia/Tokyo", "America/New_York", "America/Sao_Paulo", "America/Havana", "America/St_Johns", "Africa/Monrovia",
	"Africa/Casablanca", "Antarctica/Troll", "Asia/Kathmandu", "Asia/Tehran", "Australia/Lord_Howe", "Europe/Amsterdam",
	"Europe/Dublin", "Pacific/Apia", "Pacific/Kiritimati", "Pacific/Marquesas",
}

func aZone() *rapid.Generator[*time.Location] {
	return rapid.Custom(func(t *rapid.T) *time.Location {
		if rapid.Bool().Draw(t, "fixed") {
			return time.FixedZone("", rapid.IntRange(-90_000, 90_000).Draw(t, "offset"))
		}
		return zone(rapid.SampledFrom(zoneNames).Draw(t, "zone"))
	})
}

func TestFormatExpiry(t *testing.T) {
	t.Parallel()
	at := policy.At(time.Date(2031, 2, 3, 1, 0, 0, 0, time.UTC))
	tests := []struct {
		name string
		at   policy.Time
		zone *time.Location
		want string
	}{
		{"Tokyo", at, tokyo, "2031/02/03 10:00:00.000+09:00"},
		{"UTC", at + 7, time.UTC, "2031/02/03 01:00:00.007+00:00"},
		{"New York in winter", at, zone("America/New_York"), "2031/02/02 20:00:00.000-05:00"},
		{"less than an hour west", at, time.FixedZone("", -1800), "2031/02/03 00:30:00.000-00:30"},
		{"the farthest zone", at, time.FixedZone("", 86_340), "2031/02/04 00:59:00.000+23:59"},
		{"a zone of a day", at, time.FixedZone("", 86_400), "2031/02/03 01:00:00.000+00:00"},
		{"a zone of a day west", at, time.FixedZone("", -86_400), "2031/02/03 01:00:00.000+00:00"},
		{"a zone of seconds", 0, zone("Africa/Monrovia"), "1970/01/01 00:00:00.000+00:00"},
		{"the last instant", last, time.UTC, "9999/12/31 23:59:59.999+00:00"},
		{"the year 10000 of the zone", last, tokyo, "9999/12/31 23:59:59.999+00:00"},
		{"the year -1 of the zone", policy.At(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)), time.FixedZone("", -5*3600), "0000/01/01 00:00:00.000+00:00"},
		{"the year 0 of the zone", policy.At(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)), time.FixedZone("", 5*3600), "0000/01/01 05:00:00.000+05:00"},
		{"the last instant of the zone", last - 9*3_600_000, tokyo, "9999/12/31 23:59:59.999+09:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := issuance.FormatExpiry(tt.at, tt.zone); got != tt.want {
				t.Errorf("%v is spelled %q, want %q", tt.at, got, tt.want)
			}
		})
	}
}

func TestFormatExpiry_IsReadAsTheSameInstantInAnyZone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := policy.Time(rapid.Int64Range(0, int64(last)).Draw(t, "at"))
		now := policy.Time(rapid.Int64Range(math.MinInt64, int64(at)-1).Draw(t, "now"))
		text := issuance.FormatExpiry(at, aZone().Draw(t, "written in"))
		got, err := issuance.ParseExpiry(text, now, aZone().Draw(t, "read in"), 0)
		if err != nil || got != at {
			t.Fatalf("%v is spelled %q, which is %v, %v", at, text, got, err)
		}
	})
}

// unitSeconds is a second list of the units.
var unitSeconds = map[string]*big.Rat{
	"": big.NewRat(1, 1000), "s": big.NewRat(1, 1), "m": big.NewRat(60, 1), "h": big.NewRat(3600, 1),
	"d": big.NewRat(86_400, 1), "w": big.NewRat(604_800, 1),
}

// span returns now plus n units, if that is within the range of years and numbers.
func span(now policy.Time, n *big.Int, unit string) (policy.Time, bool) {
	ms := new(big.Rat).Mul(new(big.Rat).SetInt(n), unitSeconds[unit])
	ms.Mul(ms, big.NewRat(1000, 1))
	if n.Sign() <= 0 || !ms.IsInt() || !ms.Num().IsInt64() {
		return 0, false
	}
	sum := new(big.Int).Add(big.NewInt(int64(now)), ms.Num())
	if sum.Cmp(big.NewInt(int64(last))) > 0 {
		return 0, false
	}
	return policy.Time(sum.Int64()), true
}

func TestParseExpiry_TimesFromNowAreSums(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := policy.Time(rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, int64(last))).Draw(t, "now"))
		unit := rapid.SampledFrom([]string{"", "s", "m", "h", "d", "w"}).Draw(t, "unit")
		n := new(big.Int).SetUint64(rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 1e6)).Draw(t, "n"))
		text := strings.Repeat("0", rapid.IntRange(0, 30).Draw(t, "zeros")) + n.String() + unit
		want, ok := span(now, n, unit)
		got, err := issuance.ParseExpiry(text, now, time.UTC, 0)
		if got != want || (err == nil) != ok {
			t.Fatalf("%q at %v is %v, %v, want %v, %v", text, now, got, err, want, ok)
		}
	})
}

func TestParseExpiry_InstantsAreWhatTheStandardLibraryReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		aDigit := func(what string, to int) string { return fmt.Sprintf("%02d", rapid.IntRange(0, to).Draw(t, what)) }
		date := fmt.Sprintf("%04d-%s-%s", rapid.IntRange(1900, 9999).Draw(t, "year"), aDigit("month", 14), aDigit("day", 32))
		clock := aDigit("hour", 24) + ":" + aDigit("minute", 60) + ":" + aDigit("second", 60)
		layout := "2006-01-02"
		plain, text := date, date
		hasClock := rapid.IntRange(0, 3).Draw(t, "clock") > 0
		if hasClock {
			layout += " 15:04:05"
			plain += " " + clock
			text += rapid.SampledFrom([]string{" ", "T"}).Draw(t, "separator") + clock
			if rapid.Bool().Draw(t, "milliseconds") {
				ms := fmt.Sprintf(".%03d", rapid.IntRange(0, 999).Draw(t, "ms"))
				layout, plain, text = layout+".000", plain+ms, text+ms
			}
		}
		if hasClock && rapid.Bool().Draw(t, "zone") {
			form := rapid.SampledFrom([]string{"Z", "-07", "-0700", "-07:00"}).Draw(t, "zone form")
			written, sign := "Z", rapid.SampledFrom([]string{"+", "-"}).Draw(t, "sign")
			hours, minutes := aDigit("zone hours", 23), aDigit("zone minutes", 59)
			switch form {
			case "Z":
				layout, plain = layout+"-07:00", plain+"+00:00"
			case "-07":
				written = sign + hours
			case "-0700":
				written = sign + hours + minutes
			case "-07:00":
				written = sign + hours + ":" + minutes
			}
			if form != "Z" {
				layout, plain = layout+form, plain+written
			}
			text += rapid.SampledFrom([]string{"", " "}).Draw(t, "space") + written
		}
		for range 2 {
			if rapid.Bool().Draw(t, "slash") {
				i := rapid.SampledFrom([]int{4, 7}).Draw(t, "which")
				text = text[:i] + "/" + text[i+1:]
			}
		}
		want, wantErr := time.ParseInLocation(layout, plain, time.FixedZone("", 9*60*60))
		if wantErr == nil && !hasClock {
			want = want.AddDate(0, 0, 1)
		}
		if date[8:] == "00" {
			return // another test has it, and time.Parse does not know it
		}
		now := policy.At(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC))
		got, err := issuance.ParseExpiry(text, now, time.FixedZone("", 9*60*60), 0)
		switch ok := wantErr == nil && policy.At(want) > now && policy.At(want) <= last; {
		case ok != (err == nil):
			t.Fatalf("%q is %v, %v; by time.Parse it is %v, %v", text, got, err, want, wantErr)
		case ok && got != policy.At(want):
			t.Fatalf("%q is %v, by time.Parse it is %v", text, got, want.UTC())
		}
	})
}

func TestParseExpiry_ALocalTimeIsTheFirstMomentAtWhichClocksShowIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		z := aZone().Draw(t, "zone")
		wall := time.UnixMilli(rapid.Int64Range(-3e12, 5e12).Draw(t, "wall")).UTC()
		if _, change := wall.In(z).ZoneBounds(); !change.IsZero() && rapid.Bool().Draw(t, "near a change") {
			_, offset := change.Zone()
			near := time.Duration(rapid.Int64Range(-3e7, 3e7).Draw(t, "by")) * time.Millisecond / 4
			wall = change.UTC().Add(time.Duration(offset)*time.Second + near).Truncate(time.Millisecond)
		}
		if rapid.Bool().Draw(t, "near New Year") {
			near := time.Duration(rapid.Int64Range(-2e8, 2e8).Draw(t, "by")) * time.Millisecond
			wall = time.Date(rapid.IntRange(1880, 2500).Draw(t, "year"), 1, 1, 0, 0, 0, 0, time.UTC).Add(near)
		}
		text := wall.Format("2006/01/02 15:04:05.000")
		at, err := issuance.ParseExpiry(text, math.MinInt64, z, 0)
		if err != nil {
			t.Fatal(err)
		}
		shows := func(at policy.Time) string { return at.Std().In(z).Format("2006/01/02 15:04:05.000") }
		if shows(at) < text {
			t.Fatalf("%q in %v is %v, when clocks show %q", text, z, at, shows(at))
		}
		for back := policy.Time(1); back < 40*60*60*1000; back += 10 * 60 * 1000 {
			if shows(at-back) >= text {
				t.Fatalf("%q in %v is %v, but clocks show %q at %v already", text, z, at, shows(at-back), at-back)
			}
		}
	})
}

var onlyDigits = regexp.MustCompile(`^([0-9]+)([smhdw]?)$`)

func FuzzParseExpiry(f *testing.F) {
	for _, seed := range []string{
		"", "60000", "30s", "1w", "0", "-1", "1h30m", "1.5h", "9223372036854775807w", "2031/02/03", "2031/07/00", "2031-02/03T10:00:00.000 +09:00",
		"2031/02/03 10:00:00 09:00", "2031/02/03 10:00:00Z", "2031/02/03 10:00", "9999/12/31", "2031/03/09 02:30:00", "３０s", "2031/02/30", "1H",
		"2031/02/03t10:00:00.5z", "2011/12/30", "2104/12/31", " 30s", "0000/01/00 00:00:00-23:59",
		"9223372036854775807", "9223372036854775808",
	} {
		f.Add(seed, int64(start), uint8(1))
		f.Add(seed, int64(math.MinInt64), uint8(2))
	}
	f.Fuzz(func(t *testing.T, text string, ms int64, z uint8) {
		now, in := policy.Time(ms), zone(zoneNames[int(z)%len(zoneNames)])
		at, err := issuance.ParseExpiry(text, now, in, 0)
		if m := onlyDigits.FindStringSubmatch(text); m != nil {
			n, _ := new(big.Int).SetString(m[1], 10)
			if want, ok := span(now, n, m[2]); at != want || (err == nil) != ok {
				t.Errorf("%q at %v is %v, %v, want %v, %v", text, now, at, err, want, ok)
			}
		}
		if err != nil {
			checkError(t, err, text)
			if at != 0 {
				t.Errorf("%q is %v beside the error", text, at)
			}
			return
		}
		if at <= now || at > last {
			t.Fatalf("%q at %v is %v", text, now, at)
		}
		if at.Std().Year() < 1 {
			return // FormatExpiry cannot write earlier years
		}
		if again, err := issuance.ParseExpiry(issuance.FormatExpiry(at, in), now, time.UTC, 0); err != nil || again != at {
			t.Errorf("%q is %v, which is spelled %q, which is %v, %v", text, at, issuance.FormatExpiry(at, in), again, err)
		}
	})
}
