package issuance_test

import (
	"crypto/rand"
	"math"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/policy"
)

var (
	start = policy.At(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	last  = policy.At(time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC))
	tokyo = zone("Asia/Tokyo")
)

func zone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

// aSecret has the form of a secret, with a right checksum.
func aSecret(t *testing.T, prefix string) string {
	t.Helper()
	secret, err := policy.GenerateSecret(prefix, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

func TestParseExpiry_EveryDocumentedFormIsRead(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"digits", "60000", "2030-01-01T00:01:00.000Z"},
		{"a millisecond", "1", "2030-01-01T00:00:00.001Z"},
		{"the vendor's default", "30000", "2030-01-01T00:00:30.000Z"},
		{"digits with zeros before them", "0060000", "2030-01-01T00:01:00.000Z"},
		{"eight digits, which are no date", "20310203", "2030-01-01T05:38:30.203Z"},
		{"seconds", "30s", "2030-01-01T00:00:30.000Z"},
		{"minutes", "5m", "2030-01-01T00:05:00.000Z"},
		{"an hour", "1h", "2030-01-01T01:00:00.000Z"},
		{"days", "2d", "2030-01-03T00:00:00.000Z"},
		{"a week", "1w", "2030-01-08T00:00:00.000Z"},
		{"hours beyond a day", "36h", "2030-01-02T12:00:00.000Z"},
		{"a unit behind a zero", "01h", "2030-01-01T01:00:00.000Z"},
		{"twenty zeros and a one", "000000000000000000001s", "2030-01-01T00:00:01.000Z"},
		{"the last millisecond", "251508844799999", "9999-12-31T23:59:59.999Z"},
		{"the last second", "251508844799s", "9999-12-31T23:59:59.000Z"},

		{"a date", "2031/02/03", "2031-02-03T15:00:00.000Z"},
		{"a date with hyphens", "2031-02-03", "2031-02-03T15:00:00.000Z"},
		{"a date with a slash and a hyphen", "2031/02-03", "2031-02-03T15:00:00.000Z"},
		{"a date with a hyphen and a slash", "2031-02/03", "2031-02-03T15:00:00.000Z"},
		{"a date at the end of a month", "2031/02/28", "2031-02-28T15:00:00.000Z"},
		{"a date at the end of a year", "2031/12/31", "2031-12-31T15:00:00.000Z"},
		{"the leap day", "2032/02/29", "2032-02-29T15:00:00.000Z"},
		{"the leap day of a century", "2400/02/29", "2400-02-29T15:00:00.000Z"},
		{"day 00", "2031/07/00", "2031-06-30T15:00:00.000Z"},
		{"the day that day 00 is", "2031/06/30", "2031-06-30T15:00:00.000Z"},
		{"day 00 of January", "2031/01/00", "2030-12-31T15:00:00.000Z"},
		{"day 00 of March in a leap year", "2032/03/00", "2032-02-29T15:00:00.000Z"},
		{"day 00 of March in another year", "2031/03/00", "2031-02-28T15:00:00.000Z"},
		{"day 00 with a time of day", "2031/07/00 10:00:00", "2031-06-30T01:00:00.000Z"},
		{"day 00 of January with a time of day", "2031-01-00T10:00:00Z", "2030-12-31T10:00:00.000Z"},
		{"today, which is over at 24:00", "2030/01/01", "2030-01-01T15:00:00.000Z"},
		{"the last date in Tokyo", "9999/12/31", "9999-12-31T15:00:00.000Z"},

		{"a time of day", "2031/02/03 10:00:00", "2031-02-03T01:00:00.000Z"},
		{"a T", "2031/02/03T10:00:00", "2031-02-03T01:00:00.000Z"},
		{"hyphens and a T", "2031-02-03T10:00:00", "2031-02-03T01:00:00.000Z"},
		{"separators mixed", "2031/02-03T10:00:00.250", "2031-02-03T01:00:00.250Z"},
		{"milliseconds", "2031/02/03 10:00:00.001", "2031-02-03T01:00:00.001Z"},
		{"the last of a day", "2031/02/03 23:59:59.999", "2031-02-03T14:59:59.999Z"},
		{"the first of a day", "2031/02/03 00:00:00.000", "2031-02-02T15:00:00.000Z"},
		{"Z", "2031/02/03 10:00:00Z", "2031-02-03T10:00:00.000Z"},
		{"Z behind a space", "2031/02/03 10:00:00 Z", "2031-02-03T10:00:00.000Z"},
		{"Z behind milliseconds", "2031/02/03 10:00:00.500Z", "2031-02-03T10:00:00.500Z"},
		{"Z behind milliseconds and a space", "2031/02/03T10:00:00.500 Z", "2031-02-03T10:00:00.500Z"},
		{"hours of a zone", "2031/02/03 10:00:00+09", "2031-02-03T01:00:00.000Z"},
		{"a zone without a colon", "2031/02/03 10:00:00+0900", "2031-02-03T01:00:00.000Z"},
		{"a zone with a colon", "2031/02/03 10:00:00+09:00", "2031-02-03T01:00:00.000Z"},
		{"a zone behind a space", "2031/02/03 10:00:00 +09:00", "2031-02-03T01:00:00.000Z"},
		{"a zone west", "2031/02/03 10:00:00-05:30", "2031-02-03T15:30:00.000Z"},
		{"a zone west without a colon", "2031/02/03 10:00:00.007 -0530", "2031-02-03T15:30:00.007Z"},
		{"hours of a zone west", "2031/02/03 10:00:00 -05", "2031-02-03T15:00:00.000Z"},
		{"a zone without hours", "2031/02/03 10:00:00-00:30", "2031-02-03T10:30:00.000Z"},
		{"a zone of nothing, west", "2031/02/03 10:00:00-00:00", "2031-02-03T10:00:00.000Z"},
		{"the zone farthest east", "2031/02/03 10:00:00+23:59", "2031-02-02T10:01:00.000Z"},
		{"the zone farthest west", "2031/02/03 10:00:00-2359", "2031-02-04T09:59:00.000Z"},
		{"the first instant to come", "2030/01/01 00:00:00.001Z", "2030-01-01T00:00:00.001Z"},
		{"a date of last year that the zone brings to this one", "2029/12/31 23:00:00-05:00", "2030-01-01T04:00:00.000Z"},
		{"the last instant", "9999/12/31 23:59:59.999Z", "9999-12-31T23:59:59.999Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := issuance.ParseExpiry(tt.text, start, tokyo, 0)
			if err != nil || got.String() != tt.want {
				t.Errorf("%q is %v, %v, want %s", tt.text, got, err, tt.want)
			}
		})
	}
}

func TestParseExpiry_ADayEndsWhereItEndsInTheZone(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, zone, text, want string }{
		{"the day before clocks are set forward", "America/New_York", "2031/03/08", "2031-03-09T05:00:00.000Z"},
		{"the day of 23 hours", "America/New_York", "2031/03/09", "2031-03-10T04:00:00.000Z"},
		{"the day before clocks are set back", "America/New_York", "2031/11/01", "2031-11-02T04:00:00.000Z"},
		{"the day of 25 hours", "America/New_York", "2031/11/02", "2031-11-03T05:00:00.000Z"},
		{"before the hour that is left out", "America/New_York", "2031/03/09 01:59:59.999", "2031-03-09T06:59:59.999Z"},
		{"in the hour that is left out", "America/New_York", "2031/03/09 02:30:00", "2031-03-09T07:00:00.000Z"},
		{"after the hour that is left out", "America/New_York", "2031/03/09 03:00:00.001", "2031-03-09T07:00:00.001Z"},
		{"in the hour that comes twice", "America/New_York", "2031/11/02 01:30:00", "2031-11-02T05:30:00.000Z"},
		{"after the hour that comes twice", "America/New_York", "2031/11/02 02:00:00", "2031-11-02T07:00:00.000Z"},
		{"the zone of the text goes before", "America/New_York", "2031/11/02 01:30:00 -05:00", "2031-11-02T06:30:00.000Z"},
		{"a day that begins at one", "America/Sao_Paulo", "2018/11/03", "2018-11-04T03:00:00.000Z"},
		{"a midnight that is put off", "America/Sao_Paulo", "2018/02/17", "2018-02-18T03:00:00.000Z"},
		{"a midnight that comes twice", "America/Havana", "2018/11/03", "2018-11-04T04:00:00.000Z"},
		{"the day before one that is left out", "Pacific/Apia", "2011/12/29", "2011-12-30T10:00:00.000Z"},
		{"a day that is left out", "Pacific/Apia", "2011/12/30", "2011-12-30T10:00:00.000Z"},
		{"half an hour of summer time", "Australia/Lord_Howe", "2031/10/05 02:15:00", "2031-10-04T15:30:00.000Z"},
		{"a zone of three quarters", "Asia/Kathmandu", "2031/02/03", "2031-02-03T18:15:00.000Z"},
		{"the last day of a leap year", "America/New_York", "2104/12/31", "2105-01-01T05:00:00.000Z"},
		{"an hour on the last day of a leap year", "America/New_York", "2104/12/31 10:00:00", "2104-12-31T15:00:00.000Z"},
		{"the last day of a leap year in the south", "Australia/Lord_Howe", "2104/12/31 10:00:00", "2104-12-30T23:00:00.000Z"},
		{"a zone of seconds", "Africa/Monrovia", "1960/01/01", "1960-01-02T00:44:30.000Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := issuance.ParseExpiry(tt.text, math.MinInt64, zone(tt.zone), 0)
			if err != nil || got.String() != tt.want {
				t.Errorf("%q in %s is %v, %v, want %s", tt.text, tt.zone, got, err, tt.want)
			}
		})
	}
}

func TestParseExpiry_MistakesAreNamed(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, says string }{
		{"nothing", "", "that is empty"},
		{"a space", " ", "nothing but space"},
		{"spaces", "   ", "nothing but space"},
		{"a space before", " 30s", "space before or behind"},
		{"a space behind", "30s ", "space before or behind"},
		{"a space behind an instant", "2031/02/03 10:00:00 ", "space before or behind"},
		{"a line end", "30s\n", "not printable ASCII"},
		{"a tab", "2031/02/03\t10:00:00", "not printable ASCII"},
		{"a NUL", "30s\x00", "not printable ASCII"},
		{"other digits", "３０s", "not printable ASCII"},
		{"Arabic digits in a date", "٢٠٣١/02/03", "not printable ASCII"},
		{"broken UTF-8", "30\xff", "not printable ASCII"},
		{"a minus of typesetters", "2031/02/03 10:00:00−05:00", "not printable ASCII"},
		{"a sign too wide", "1\u3000h", "not printable ASCII"},

		{"zero", "0", "no time at all"},
		{"zeros", "000", "no time at all"},
		{"zero seconds", "0s", "no time at all"},
		{"zero weeks", "0w", "no time at all"},
		{"a negative number", "-1", "no sign"},
		{"a negative time", "-30s", "no sign"},
		{"minus zero", "-0", "no sign"},
		{"a plus", "+30s", "no sign"},
		{"a plus alone with digits", "+60000", "no sign"},
		{"a negative decimal", "-1.5h", "no sign"},
		{"decimals", "1.5h", "whole number"},
		{"a decimal comma", "1,5h", "whole number"},
		{"decimals of a millisecond", "1.5", "whole number"},
		{"a point before", ".5h", "whole number"},
		{"a point behind", "5.", "whole number"},
		{"two units", "1h30m", "one unit only"},
		{"two units with a space", "1h 30m", "one unit only"},
		{"a number behind a unit", "1h30", "one unit only"},
		{"four units", "1w2d3h4m", "one unit only"},
		{"the same unit twice", "1h1h", "one unit only"},
		{"two letters", "1hh", "the unit is not"},
		{"a unit in upper case", "1H", "the unit is not"},
		{"seconds in upper case", "30S", "the unit is not"},
		{"years", "1y", "the unit is not"},
		{"months", "1mo", "the unit is not"},
		{"minutes spelled longer", "5min", "the unit is not"},
		{"milliseconds with their unit", "100ms", "the unit is not"},
		{"a space before the unit", "30 s", "the unit is not"},
		{"a unit alone", "h", "that is no time"},
		{"a minus alone", "-", "that is no time"},
		{"a hexadecimal number", "0x10", "that is no time"},
		{"a power", "1e5", "that is no time"},
		{"a word", "never", "that is no time"},
		{"digits with an underscore", "60_000", "that is no time"},
		{"a date without separators, with a time", "20310203T100000Z", "that is no time"},
		{"a time of day alone", "10:00:00", "that is no time"},

		{"a millisecond too many", "251508844800000", "beyond the year 9999"},
		{"a week too many", "415855w", "beyond the year 9999"},
		{"the largest int64", "9223372036854775807", "beyond the year 9999"},
		{"more than an int64", "9223372036854775808", "beyond the year 9999"},
		{"a hundred digits", strings.Repeat("9", 100), "beyond the year 9999"},
		{"a product beyond an int64", "9223372036854775807w", "beyond the year 9999"},
		{"a product that wraps to little", "18446744073709552s", "beyond the year 9999"},
		{"an instant beyond", "9999/12/31 23:59:59.999-00:01", "beyond the year 9999"},
		{"a year of five digits", "10000/01/01", "four digits"},

		{"now", "2030/01/01 00:00:00Z", "which is past"},
		{"now in another zone", "2030/01/01 09:00:00+09:00", "which is past"},
		{"yesterday in Tokyo", "2029/12/31", "which is past"},
		{"last year", "2029-06-30", "which is past"},
		{"day 00 of this year", "2030/01/00", "which is past"},
		{"the year 0000", "0000/01/00", "which is past"},

		{"day 30 of February", "2031/02/30", "no such day"},
		{"the leap day in another year", "2031/02/29", "no such day"},
		{"the leap day in a century", "2100/02/29 10:00:00", "no such day"},
		{"day 31 of April", "2031-04-31T10:00:00Z", "no such day"},
		{"day 32", "2031/01/32", "no such day"},
		{"month 13", "2031/13/01", "no such month"},
		{"month 00", "2031/00/10", "no such month"},
		{"month 00 and day 00", "2031/00/00", "no such month"},
		{"hour 24", "2031/02/03 24:00:00", "no such hour"},
		{"minute 60", "2031/02/03 10:60:00", "no such minute or second"},
		{"second 60", "2031/02/03 23:59:60Z", "no such minute or second"},
		{"24 hours of a zone", "2031/02/03 10:00:00+24:00", "no such time zone"},
		{"60 minutes of a zone", "2031/02/03 10:00:00-0560", "no such time zone"},

		{"a plus that became a space", "2031/02/03 10:00:00 09:00", "%2B"},
		{"a plus without minutes that became a space", "2031-02-03T10:00:00 09", "%2B"},
		{"a plus without a colon that became a space", "2031-02-03T10:00:00.000 0900", "%2B"},
		{"a plus behind a space that became another", "2031/02/03 10:00:00  09:00", "%2B"},
		{"two spaces before the time", "2031/02/03  10:00:00", "two spaces"},
		{"two spaces before the zone", "2031/02/03 10:00:00  +09:00", "two spaces"},
		{"no seconds", "2031/02/03 10:00", "without seconds"},
		{"no seconds, with a zone", "2031/02/03T10:00+09:00", "without seconds"},
		{"no seconds, in UTC", "2031/02/03T10:00Z", "without seconds"},
		{"no minutes", "2031/02/03 10", "without seconds"},
		{"a small t", "2031/02/03t10:00:00", "upper case"},
		{"a small z", "2031/02/03 10:00:00z", "upper case"},
		{"a small z behind a space", "2031/02/03T10:00:00.000 z", "upper case"},
		{"one digit of a fraction", "2031/02/03 10:00:00.5", "three digits"},
		{"two digits of a fraction", "2031/02/03 10:00:00.50Z", "three digits"},
		{"four digits of a fraction", "2031/02/03 10:00:00.5000+09:00", "three digits"},
		{"no digit of a fraction", "2031/02/03 10:00:00.", "three digits"},
		{"a comma for the fraction", "2031/02/03 10:00:00,500", "three digits"},
		{"a zone of one digit", "2031/02/03 10:00:00+9", "not spelled as Z"},
		{"a zone of one digit and minutes", "2031/02/03 10:00:00+9:00", "not spelled as Z"},
		{"a zone of three digits", "2031/02/03 10:00:00+090", "not spelled as Z"},
		{"a zone with seconds", "2031/02/03 10:00:00+09:00:00", "not spelled as Z"},
		{"a zone's name", "2031/02/03 10:00:00 JST", "not spelled as Z"},
		{"a zone's name behind milliseconds", "2031/02/03 10:00:00.000 JST", "not spelled as Z"},
		{"a sign alone", "2031/02/03 10:00:00+", "not spelled as Z"},
		{"a zone behind a date", "2031/02/03+09:00", "not a date"},
		{"a zone behind a date and a space", "2031/02/03 +09:00", "not a date"},
		{"Z behind a date", "2031-02-03Z", "not a date"},
		{"an hour of one digit", "2031/02/03 9:00:00", "not spelled as 10:00:00"},
		{"half a day", "2031/02/03 10:00pm", "not spelled as 10:00:00"},
		{"a month of one digit", "2031/2/03", "four digits"},
		{"a day of one digit", "2031-02-3", "four digits"},
		{"a year of two digits", "31/02/03", "four digits"},
		{"points in a date", "2031.02.03", "four digits"},
		{"a day of three digits", "2031/02/031", "four digits"},
		{"no day", "2031/02", "that is no time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at, err := issuance.ParseExpiry(tt.text, start, tokyo, 0)
			if err == nil || at != 0 {
				t.Fatalf("%q is %v, %v", tt.text, at, err)
			}
			checkError(t, err, tt.text)
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %q, want it to say %q", err, tt.says)
			}
		})
	}
}
