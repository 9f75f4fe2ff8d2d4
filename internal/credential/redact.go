package credential

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Redactor masks one secret in what passes through it, in every spelling that
// an answer may give it. The mask is as long as what it covers, so lengths stay
// true. The zero value masks nothing.
type Redactor struct {
	of   *needle
	left int    // bytes at which a secret may still start
	held []byte // the end of the last piece, from where a secret may have started
}

// needle is a secret that is looked for, which the redactors of many answers share.
type needle struct {
	secret  string
	anchor  string // a run of the secret that has one spelling; empty where it has none
	longest int    // bytes of the secret's longest spelling
	bounded bool   // only where no letter and no digit is next to it
}

// NewRedactor masks secret where it starts in the first limit bytes.
func NewRedactor(secret policy.Secret, limit int) *Redactor {
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
	return &Redactor{of: n, left: limit}
}

// WholeWords returns a redactor of the same secret that masks it only where no
// letter and no digit stands directly before or after it. It is for whole texts
// (Text and Whole), and for a secret so short that it could be a part of a word.
func (r *Redactor) WholeWords() *Redactor {
	of := *r.of
	of.bounded = true
	return &Redactor{of: &of}
}

// Clone is a redactor of the same secret for another answer.
func (r *Redactor) Clone(limit int) Redactor {
	return Redactor{of: r.of, left: limit}
}

// Next masks the next piece. What it returns is p itself where nothing had to
// change, and may lack the last bytes, which come with the next piece or with
// Rest. It does not change p.
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

// Rest returns what was held back, at the end of the answer.
func (r *Redactor) Rest() []byte {
	held, _ := r.mask(r.held, r.left, true)
	r.held = nil
	return held
}

// Text masks a text that is whole. It returns text itself where nothing had to
// change.
func (r *Redactor) Text(text string) string {
	if r.of == nil || !strings.Contains(text, r.of.anchor) {
		return text
	}
	return string(r.Whole([]byte(text)))
}

// Whole masks a text that is whole, whatever has been masked before. It returns
// p itself where nothing had to change, and does not change p.
func (r *Redactor) Whole(p []byte) []byte {
	masked, _ := r.mask(p, len(p), true)
	return masked
}

// mask masks the secrets that start in the first limit bytes of p, in a copy if
// there are any. Unless p is the last piece, it leaves alone what may be the
// start of a secret, and returns how many bytes at the end that is.
func (r *Redactor) mask(p []byte, limit int, last bool) (masked []byte, keep int) {
	if r.of == nil || r.of.secret == "" {
		return p, 0
	}
	i := 0
	if !bytes.Contains(p, []byte(r.of.anchor)) {
		// There is no whole secret, and at the end at most a part of one.
		if last {
			return p, 0
		}
		i = max(0, len(p)-r.of.longest)
	}
	copied := false
	starts := spellingStarts[r.of.secret[0]]
	for {
		next := indexAny(p[i:max(i, min(len(p), limit))], starts)
		if next < 0 {
			break
		}
		i += next
		n, open := spelled(p[i:], r.of.secret)
		switch {
		case open && !last:
			return p, len(p) - i
		case n <= 0, r.of.bounded && !alone(p, i, i+n):
			i++
			continue
		case !copied:
			p, copied = bytes.Clone(p), true
		}
		copy(p[i:], bytes.Repeat([]byte("*"), n))
		i += n
	}
	return p, 0
}

// indexAny is where the first of these bytes is, or -1. It is bytes.IndexAny for
// bytes that are no text.
func indexAny(p []byte, of string) int {
	if len(of) == 1 {
		return bytes.IndexByte(p, of[0])
	}
	return slices.IndexFunc(p, func(c byte) bool { return strings.IndexByte(of, c) >= 0 })
}

// alone reports whether no letter and no digit stands directly before or after
// p[from:to]. Those of an escape in front, such as %3D, do not count.
func alone(p []byte, from, to int) bool {
	if to < len(p) && isAlphanumeric(rune(p[to])) {
		return false
	}
	if from == 0 || !isAlphanumeric(rune(p[from-1])) {
		return true
	}
	return endsInEscape.Match(p[max(0, from-6):from])
}

// endsInEscape matches what ends in an escape of a URL or of JSON.
var endsInEscape = regexp.MustCompile(`(%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[bfnrt])$`)

// spelled is the length of the longest spelling of secret that p begins with,
// or -1. With open, further bytes could make it a longer one.
func spelled(p []byte, secret string) (n int, open bool) {
	if secret == "" {
		return 0, false
	}
	n = -1
	for _, s := range spellings[secret[0]] {
		if len(p) < len(s) || string(p[:len(s)]) != s {
			open = open || len(p) < len(s) && strings.HasPrefix(s, string(p))
			continue
		}
		rest, more := spelled(p[len(s):], secret[1:])
		open = open || more
		if rest >= 0 {
			n = max(n, len(s)+rest)
		}
	}
	return n, open
}

// spellings are the ways in which answers spell a character of a key: as it is,
// or escaped for a URL (once, or twice as in a pair), for JSON or for HTML.
// Encoders differ in which characters they escape, so each one counts alone.
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

// spellingStarts are the first characters of the spellings of a character.
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
