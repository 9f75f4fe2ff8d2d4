package issuance

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/speechgate/speechgate/internal/words"
)

// fieldNames returns the names of the form fields that the API knows.
func fieldNames() []string { return []string{"epi", "ipa", "sid", "spw"} }

// misspelled returns the known field that an unknown field of the form is like: "ipa" for
// "IPA", "ip" or "ip_address". It returns "" for a known field, and for a field that is like
// none. It returns several names as alternatives.
//
// If the API ignored a misspelled ipa or epi, the caller would get a key that is valid from
// anywhere, or for another time than the caller asked for.
//
// An unknown name is like a known one if it has the same letters in another spelling: case,
// full width, hyphens, brackets. If the form does not have the known field, a name is also
// like the known one if it begins with it, or if up to two letters differ and two letters are
// the same. So a field such as id or api is ignored in a call that has sid and epi, and so is
// a field of one letter, such as the _ with which tools keep caches from answering. With
// a key, a call needs neither sid nor spw: only another spelling of these is refused then.
func misspelled(name string, form url.Values, hasKey bool) string {
	if slices.Contains(fieldNames(), name) {
		return ""
	}
	text := plainLetters(name)
	const most = 2
	best, like := most+1, []string(nil)
	for _, field := range fieldNames() {
		if text == field {
			return field
		}
		needed := !hasKey || field == "epi" || field == "ipa"
		if form.Has(field) || !needed {
			continue
		}
		d := words.EditDistance(text, field)
		switch {
		case strings.HasPrefix(text, field):
			d = 1
		case common(text, field) < 2:
			continue
		}
		switch {
		case d < best:
			best, like = d, []string{field}
		case d == best && d <= most:
			like = append(like, field)
		}
	}
	return words.Alternatives(like)
}

// common returns how many letters a and b have in common, in the same order.
func common(a, b string) int {
	before := make([]int, len(b)+1)
	for i := range len(a) {
		row := make([]int, len(b)+1)
		for j := range len(b) {
			row[j+1] = max(row[j], before[j+1])
			if a[i] == b[j] {
				row[j+1] = before[j] + 1
			}
		}
		before = row
	}
	return before[len(b)]
}

// plainLetters returns the letters and digits of a name in lower case. Full-width forms
// become ASCII. A long name is cut, because it is like none.
func plainLetters(name string) string {
	const most = 8
	var text strings.Builder
	for _, r := range name {
		if r >= '！' && r <= '～' {
			r -= '！' - '!'
		}
		if r = unicode.ToLower(r); unicode.IsLetter(r) || unicode.IsDigit(r) {
			text.WriteRune(r)
		}
		if text.Len() >= most {
			break
		}
	}
	return text.String()
}
