package issuance

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/speechgate/speechgate/internal/words"
)

// fieldNames returns the names of the form fields that the API knows.
func fieldNames() []string { return []string{"epi", "ipa", "limits", "sid", "spw"} }

// misspelled returns the known field that an unknown field of the form is similar to: "ipa"
// for "IPA", "ip" or "ip_address". It returns "" for a known field, and for a field that is
// not similar to any. If several known fields are equally similar, it returns them as in
// "sid or spw".
//
// If the API ignored a misspelled ipa or epi, the caller would get a key that is valid from
// anywhere, or for another time than the caller asked for.
//
// An unknown name is similar to a known one if it has the same letters in another spelling:
// case, full width, hyphens, brackets; or if one of its words has these letters, as in
// data[ipa] or allow_ipa. If the form does not have the known field, an
// unknown name is also similar if it begins with the known one, or if up to two letters
// differ and at least two are the same. So a call that has sid and epi may have a field
// such as id or api, or a field of one letter, such as the _ that some tools add so that no
// cache answers. A call with a key needs neither sid nor spw, so of their misspellings only
// other spellings of the same letters are refused.
func misspelled(name string, form url.Values, hasKey bool) string {
	if slices.Contains(fieldNames(), name) {
		return ""
	}
	text := plainLetters(name)
	const most = 2
	best, like := most+1, []string(nil)
	for _, field := range fieldNames() {
		if text == field || hasWord(name, field) {
			return field
		}
		needed := !hasKey || field == "epi" || field == "ipa" || field == "limits"
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

// hasWord reports whether one of the words of a name is the field, in any case of letters.
func hasWord(name, field string) bool {
	between := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	return slices.ContainsFunc(strings.FieldsFunc(name, between), func(word string) bool { return strings.EqualFold(word, field) })
}

// common returns the length of the longest sequence of letters that a and b have in common,
// in this order but with gaps.
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

// plainLetters returns the letters and digits of a name in lower case, with full-width
// characters as ASCII. It cuts a long name, because no known field is similar to a long
// name.
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
