// Package words helps to write messages for people: the word that was probably meant,
// lists of alternatives, and quoted values that may be secrets.
package words

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// wordForm is what the name of a command or an option looks like.
var wordForm = regexp.MustCompile(`^[a-z][a-z_-]{0,23}$`)

// QuoteWord quotes what was typed where the name of a command or an option was
// expected: a word is shown, and anything else may be a secret.
func QuoteWord(text string) string {
	if wordForm.MatchString(text) {
		return strconv.Quote(text)
	}
	return QuoteArgument(text)
}

// Quote quotes a value that is not what was expected. It may be a secret, so that
// only the beginning of a long text is shown.
func Quote(text string) string { return shownUpTo(16, text) }

// QuoteArgument is shown for an argument that a secret is likely to be given as:
// service passwords have 8 characters or more.
func QuoteArgument(text string) string { return shownUpTo(7, text) }

func shownUpTo(whole int, text string) string {
	const part = 4
	public := strings.HasPrefix(text, "acc_") || strings.HasPrefix(text, "key_") || strings.HasPrefix(text, "svc_")
	if runes := []rune(text); len(runes) > whole && !public {
		text = string(runes[:part]) + "…"
	}
	return strconv.Quote(text)
}

// Alternatives joins words as a sentence does.
func Alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Nearest returns the word that a misspelled one was likely meant to be; empty
// where none is near.
func Nearest(misspelled string, words []string) string {
	const tolerated = 2
	best, found := tolerated+1, ""
	for _, word := range words {
		if d := editDistance(strings.ToLower(misspelled), word); d < best && d < len(word)-1 {
			best, found = d, word
		}
	}
	return found
}

// editDistance counts the letters to insert, remove or change, or neighbours to
// swap, that make b of a.
func editDistance(a, b string) int {
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

// TimeText is an instant for JSON, null if it never happened.
func TimeText(t policy.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.String()
	return &text
}

// Count says how many there are of what a regular noun names.
func Count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
