package credential

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Redactor masks secrets in a text that passes through it, in every spelling that an
// answer may use. It replaces a secret with as many "*", so that the length stays the
// same. The zero value masks nothing. A Redactor is for one goroutine.
type Redactor struct {
	needle *needle
	left   int    // a secret is masked if it starts within this many bytes
	held   []byte // the end of the last piece, from where a secret may have started
}

// needle is a secret to look for. The redactors of many answers share it.
type needle struct {
	secret     string
	anchor     string  // the longest run of the secret that has only one spelling; can be empty
	longest    int     // the bytes of the secret's longest spelling
	wholeWords bool    // mask the secret only without a letter or digit next to it
	next       *needle // another secret to look for; nil after the last one
}

// NewRedactor returns a Redactor that masks each of the secrets that starts in the first limit
// bytes.
func NewRedactor(secret policy.Secret, limit int, more ...policy.Secret) *Redactor {
	needles := []*needle{newNeedle(secret)}
	for _, other := range more {
		needles = append(needles, newNeedle(other))
	}
	// A secret can be the beginning of another one, which must be masked whole.
	slices.SortStableFunc(needles, func(a, b *needle) int { return len(b.secret) - len(a.secret) })
	for i, n := range needles[1:] {
		needles[i].next = n
	}
	return &Redactor{needle: needles[0], left: limit}
}

func newNeedle(secret policy.Secret) *needle {
	n := &needle{secret: secret.Reveal()}
	run := 0
	for i := range len(n.secret) {
		longest := 0
		for _, s := range spellings[n.secret[i]] {
			longest = max(longest, len(s))
		}
		n.longest += longest
		if run++; longest > 1 {
			run = 0
		}
		if run > len(n.anchor) {
			n.anchor = n.secret[i+1-run : i+1]
		}
	}
	return n
}

// WholeWords returns a Redactor of the same secret, which must be the only one, that masks it
// only if no letter and no digit is directly before or after it. Use it with Text and Whole, for
// a secret so short that it can be part of a word.
func (r *Redactor) WholeWords() *Redactor {
	n := *r.needle
	n.wholeWords = true
	return &Redactor{needle: &n}
}

// Clone returns a Redactor of the same secrets for another answer, with a limit of its own.
func (r *Redactor) Clone(limit int) Redactor {
	return Redactor{needle: r.needle, left: limit}
}

// Next returns the next piece of the text, masked. It does not change p, and returns p
// itself if there is nothing to mask. Some bytes at the end of p may come with the next
// piece or with Rest instead.
func (r *Redactor) Next(p []byte) []byte {
	if r.left <= 0 {
		return p
	}
	if len(r.held) > 0 {
		p, r.held = append(r.held, p...), nil
	}
	p, keep := r.mask(p, r.left, false)
	r.left -= len(p) - keep
	if keep > 0 {
		r.held = bytes.Clone(p[len(p)-keep:])
	}
	return p[:len(p)-keep]
}

// Rest returns, at the end of the text, the bytes that Next held back.
func (r *Redactor) Rest() []byte {
	held, _ := r.mask(r.held, r.left, true)
	r.held = nil
	return held
}

// Text masks a whole text. It returns text itself if there is nothing to mask.
func (r *Redactor) Text(text string) string {
	for n := r.needle; n != nil; n = n.next {
		if strings.Contains(text, n.anchor) {
			return string(r.Whole([]byte(text)))
		}
	}
	return text
}

// Whole masks a whole text, independent of Next. It does not change p, and returns p
// itself if there is nothing to mask.
func (r *Redactor) Whole(p []byte) []byte {
	masked, _ := r.mask(p, len(p), true)
	return masked
}

// mask masks the secrets that start in the first limit bytes of p, in a copy of p if there
// are any. If p is not the last piece, the last keep bytes may be the start of a secret.
func (r *Redactor) mask(p []byte, limit int, last bool) (masked []byte, keep int) {
	for n := r.needle; n != nil; n = n.next {
		var start int
		// What may be the start of a longer secret is not masked as a shorter one yet.
		p, start = n.mask(p, min(limit, len(p)-keep), last)
		keep = max(keep, start)
	}
	return p, keep
}

// mask masks the secret as [Redactor.mask] does. It leaves the last keep bytes as they are.
func (n *needle) mask(p []byte, limit int, last bool) (masked []byte, keep int) {
	if n.secret == "" {
		return p, 0
	}
	i := 0
	if !bytes.Contains(p, []byte(n.anchor)) {
		// p has no whole secret, and at most the start of a secret at its end.
		if last {
			return p, 0
		}
		i = max(0, len(p)-n.longest)
	}
	copied := false
	starts := spellingStarts[n.secret[0]]
	for {
		next := indexAny(p[i:max(i, min(len(p), limit))], starts)
		if next < 0 {
			break
		}
		i += next
		length, open := spellingLen(p[i:], n.secret)
		switch {
		case open && !last:
			return p, len(p) - i
		case length <= 0, n.wholeWords && !isWholeWord(p, i, i+length):
			i++
			continue
		case !copied:
			p, copied = bytes.Clone(p), true
		}
		copy(p[i:], bytes.Repeat([]byte("*"), length))
		i += length
	}
	return p, 0
}

// indexAny returns the index of the first of these bytes in p, or -1. bytes.IndexAny
// would look for runes.
func indexAny(p []byte, set string) int {
	if len(set) == 1 {
		return bytes.IndexByte(p, set[0])
	}
	return slices.IndexFunc(p, func(c byte) bool { return strings.IndexByte(set, c) >= 0 })
}

// isWholeWord reports whether no letter and no digit is directly before or after
// p[from:to]. The letters and digits of an escape before it, such as %3D, do not count.
func isWholeWord(p []byte, from, to int) bool {
	if to < len(p) && isAlphanumeric(rune(p[to])) {
		return false
	}
	if from == 0 || !isAlphanumeric(rune(p[from-1])) {
		return true
	}
	return endsInEscape.Match(p[max(0, from-6):from])
}

// endsInEscape matches a text that ends in an escape of a URL or of JSON.
var endsInEscape = regexp.MustCompile(`(%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[bfnrt])$`)

// spellingLen returns the length of the longest spelling of secret at the start of p, or
// -1. open means that more bytes after p could make a longer one.
func spellingLen(p []byte, secret string) (n int, open bool) {
	if secret == "" {
		return 0, false
	}
	n = -1
	for _, s := range spellings[secret[0]] {
		if len(p) < len(s) || string(p[:len(s)]) != s {
			open = open || len(p) < len(s) && strings.HasPrefix(s, string(p))
			continue
		}
		rest, more := spellingLen(p[len(s):], secret[1:])
		open = open || more
		if rest >= 0 {
			n = max(n, len(s)+rest)
		}
	}
	return n, open
}

// spellings has, for each byte, the ways in which answers spell it: as it is, or escaped
// for a URL (once, or twice as in a pair), for JSON or for HTML. Encoders escape different
// characters, so each byte of a secret may have any spelling.
var spellings = func() (table [256][]string) {
	html := map[byte]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&quot;", '\'': "&apos;"}
	for i := range table {
		c := byte(i)
		table[i] = []string{string([]byte{c})}
		if isAlphanumeric(rune(c)) || c > '~' {
			continue
		}
		for _, form := range []string{"%%%02x", "%%%02X", "%%25%02x", "%%25%02X", `\u%04x`, `\u%04X`, "&#%d;", "&#%03d;", "&#x%x;", "&#x%X;"} {
			table[i] = append(table[i], fmt.Sprintf(form, c))
		}
		if strings.IndexByte(`/"\'`, c) >= 0 {
			table[i] = append(table[i], `\`+string(rune(c)))
		}
		if name, ok := html[c]; ok {
			table[i] = append(table[i], name)
		}
		slices.Sort(table[i])
		table[i] = slices.Compact(table[i])
	}
	return table
}()

// spellingStarts has, for each byte, the first bytes of its spellings.
var spellingStarts = func() (table [256]string) {
	for i, forms := range spellings {
		for _, form := range forms {
			if !strings.Contains(table[i], form[:1]) {
				table[i] += form[:1]
			}
		}
	}
	return table
}()
