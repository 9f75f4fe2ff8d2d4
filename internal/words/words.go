// Package words helps to write messages for people: suggestions for misspelled words,
// lists of alternatives, quoted values that can be secrets, counts and times.
package words

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// wordForm matches the names of commands and options.
var wordForm = regexp.MustCompile(`^[a-z][a-z_-]{0,23}$`)

// QuoteWord quotes a text that was given in place of the name of a command or an option. If
// the text has the form of such a name, QuoteWord shows all of it. Any other text can be a
// secret, and is masked as by [QuoteArgument].
func QuoteWord(text string) string {
	if wordForm.MatchString(text) {
		return strconv.Quote(text)
	}
	return QuoteArgument(text)
}

// Quote quotes a wrong value for an error. The value can be a secret: if it has more than
// 16 characters, Quote shows only the first 4. Quote shows all of a public ID, and of a
// text that can only be a time or a list of addresses.
func Quote(text string) string {
	if plainForm.MatchString(text) && !longRun.MatchString(text) {
		return strconv.Quote(text)
	}
	return masked(16, text)
}

var (
	// plainForm matches times and lists of addresses, and also misspelled ones.
	plainForm = regexp.MustCompile(`^[0-9A-Fa-fTZtz:./,;+ -]{1,100}$`)
	// longRun matches 9 letters or digits in a row. Times and addresses have no such run. A
	// secret in hexadecimal has one.
	longRun = regexp.MustCompile(`[0-9A-Za-z]{9}`)
)

// QuoteArgument quotes an argument of the command line. People type secrets in the wrong
// place, so QuoteArgument masks shorter texts than [Quote] does: if the argument has more
// than 7 characters, it shows only the first 4. A service password has 8 characters or
// more. Public IDs are shown whole.
func QuoteArgument(text string) string { return masked(7, text) }

// masked quotes a text. If the text has more than longest characters and is not a public
// ID, only its first 4 characters are shown.
func masked(longest int, text string) string {
	const part = 4
	public := strings.HasPrefix(text, "acc_") || strings.HasPrefix(text, "key_") || strings.HasPrefix(text, "svc_")
	if runes := []rune(text); len(runes) > longest && !public {
		text = string(runes[:part]) + "…"
	}
	return strconv.Quote(text)
}

// Alternatives joins words with commas and "or": a, b or c.
func Alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Nearest returns the word that is most similar to a misspelled word. It returns "" if
// every word differs by more than two edits; for a word of three letters, by more than one.
func Nearest(misspelled string, words []string) string {
	const tolerated = 2
	best, found := tolerated+1, ""
	for _, word := range words {
		if d := EditDistance(strings.ToLower(misspelled), word); d < best && d < len(word)-1 {
			best, found = d, word
		}
	}
	return found
}

// EditDistance returns how many edits turn a into b. An edit inserts, removes or changes
// one letter, or swaps two neighbours.
func EditDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// TimeText returns an instant as text for JSON. It returns nil, which becomes null, if t is
// zero: the event has not happened.
func TimeText(t policy.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.String()
	return &text
}

// Count returns a number and its noun: 1 key, 2 keys. The plural is the noun with an s.
func Count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
