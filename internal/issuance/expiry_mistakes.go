package issuance

import (
	"errors"
	"regexp"
)

// The mistakes in an epi. ParseExpiry puts "want …" with the right forms after them.
var (
	errFar      = errors.New("that is beyond the year 9999")
	errZero     = errors.New("that is no time at all: the key would expire as it is issued")
	errMonth    = errors.New("there is no such month, of 01 to 12")
	errDay      = errors.New("the month has no such day")
	errHour     = errors.New("there is no such hour, of 00 to 23; a date alone lasts until 24:00")
	errMinute   = errors.New("there is no such minute or second, of 00 to 59")
	errOffset   = errors.New("there is no such time zone, of -23:59 to +23:59")
	errBlank    = errors.New("that is empty")
	errSpace    = errors.New("there is nothing but space in it")
	errASCII    = errors.New("a character in it is not printable ASCII")
	errAround   = errors.New("there is a space before or behind it")
	errPlus     = errors.New("the + of a time zone arrived as a space: in a form it has to be sent as %2B")
	errSpaces   = errors.New("there are two spaces in a row in it")
	errSign     = errors.New("a time from now has no sign")
	errDecimals = errors.New("a time from now is a whole number, of a smaller unit if need be")
	errUnits    = errors.New("a time from now has one unit only, the smaller one if need be")
	errUnit     = errors.New("the unit is not s, m, h, d or w in lower case, right behind the number")
	errCase     = errors.New("the T and Z of an instant are in upper case")
	errNoClock  = errors.New("a time zone follows a time of day, not a date")
	errSeconds  = errors.New("the time of day is without seconds")
	errFraction = errors.New("the fraction of a second is not a point and three digits")
	errZone     = errors.New("the time zone is not spelled as Z, +09, +0900 or +09:00")
	errClock    = errors.New("the time of day is not spelled as 10:00:00, with a space or T before it")
	errDate     = errors.New("the date is not spelled with four digits, two and two, and slashes or hyphens between them")
	errNoTime   = errors.New("that is no time")
)

// mistakes has a regular expression for each mistake in a text that does not have the form
// of an epi. The first one that matches the text tells the mistake.
var mistakes = []struct {
	form  *regexp.Regexp
	cause error
}{
	{regexp.MustCompile(`\A\z`), errBlank},
	{regexp.MustCompile(`\A +\z`), errSpace},
	{regexp.MustCompile(`[^ -~]`), errASCII},
	{regexp.MustCompile(`\A | \z`), errAround},
	{regexp.MustCompile(aDate + `[ T]` + aClock + `(?:\.[0-9]{3})? {1,2}[0-9]{2}(?::?[0-9]{2})?\z`), errPlus},
	{regexp.MustCompile(`  `), errSpaces},
	{regexp.MustCompile(`\A[+-][0-9]+(?:[.,][0-9]+)?[A-Za-z]*\z`), errSign},
	{regexp.MustCompile(`\A(?:[0-9]+[.,]|[.,][0-9])[0-9]* ?[A-Za-z]*\z`), errDecimals},
	{regexp.MustCompile(`\A(?:[0-9]+[smhdw] ?)+[0-9]+[smhdw]?\z`), errUnits},
	{regexp.MustCompile(`\A[0-9]+ ?[A-Za-z]+\z`), errUnit},
	{regexp.MustCompile(aDate + `(?:t|[ Tt].*z\z)`), errCase},
	{regexp.MustCompile(aDate + ` ?[Zz+-]`), errNoClock},
	{regexp.MustCompile(aDate + `[ T][0-9]{2}(?::[0-9]{2})?(?:[ Z+-].*)?\z`), errSeconds},
	{regexp.MustCompile(aDate + `[ T]` + aClock + `\.[0-9]{3}[^0-9]`), errZone},
	{regexp.MustCompile(aDate + `[ T]` + aClock + `[.,]`), errFraction},
	{regexp.MustCompile(aDate + `[ T]` + aClock), errZone},
	{regexp.MustCompile(aDate + `[ T]`), errClock},
	{regexp.MustCompile(`\A[0-9]+[/.-][0-9]+[/.-][0-9]`), errDate},
}

const (
	aDate  = `\A[0-9]{4}[/-][0-9]{2}[/-][0-9]{2}`
	aClock = `[0-9]{2}:[0-9]{2}:[0-9]{2}`
)

func mistakeIn(text string) error {
	for _, m := range mistakes {
		if m.form.MatchString(text) {
			return m.cause
		}
	}
	return errNoTime
}
