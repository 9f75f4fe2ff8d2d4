package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
)

// Limits say how much may be used with one key, or with all keys of one account together.
// In each field, zero is no limit. The limits of a key never change after the key is
// issued. The operator may change the limits of an account.
//
// Reading jobs is never limited, so that no client loses the result of a job that runs.
type Limits struct {
	Operations OperationSet // the operations that may be used
	Requests   uint32       // requests a minute
	Concurrent uint32       // requests at a time, without live streams
	Streams    uint32       // live streams at a time
	AudioDay   uint32       // seconds of audio a day; days are those of UTC
	AudioTotal uint32       // seconds of audio in all
}

// None reports whether there is no limit.
func (l Limits) None() bool { return l == Limits{} }

// Audio reports whether there is a limit of audio.
func (l *Limits) Audio() bool { return l.AudioDay != 0 || l.AudioTotal != 0 }

// LimitName names one of the limits.
type LimitName uint8

// The limits. The zero value is no limit.
const (
	NoLimit LimitName = iota
	LimitRequests
	LimitConcurrent
	LimitStreams
	LimitAudioDay
	LimitAudioTotal
	LimitOperations

	limitCount
)

var limitWords = [limitCount]string{
	LimitRequests:   "requests",
	LimitConcurrent: "concurrent",
	LimitStreams:    "streams",
	LimitAudioDay:   "audio",
	LimitAudioTotal: "audio-total",
	LimitOperations: "operations",
}

// String returns the limit's word, or "" for NoLimit.
func (n LimitName) String() string {
	if n >= limitCount {
		n = NoLimit
	}
	return limitWords[n]
}

// LimitNames lists every limit, in the order in which limits are written.
func LimitNames() []LimitName {
	all := make([]LimitName, 0, limitCount-1)
	for n := NoLimit + 1; n < limitCount; n++ {
		all = append(all, n)
	}
	return all
}

// Reason returns the reason of a refusal because of this limit.
func (n LimitName) Reason() Reason {
	switch n {
	case NoLimit:
		return Undecided
	case LimitOperations:
		return OperationRefused
	case LimitStreams:
		return StreamLimit
	default:
		return LimitReached
	}
}

// Exceeded says why a limit refuses a request: one of the key's limits (own) or, if byAccount is
// true, of its account's limits (shared). It returns "" for NoLimit.
func Exceeded(own, shared *Limits, n LimitName, byAccount bool) string {
	if n == NoLimit {
		return ""
	}
	sentence := exceeded(own, shared, n, byAccount).String()
	return strings.ToLower(sentence[:1]) + strings.TrimSuffix(sentence[1:], ".")
}

// exceeded returns the sentence of [Exceeded]. n is a limit.
func exceeded(own, shared *Limits, n LimitName, byAccount bool) phrase.Text {
	switch {
	case (n == LimitAudioDay || n == LimitAudioTotal) && byAccount:
		return phrase.New("The account's limit %s is used up.", shared.Word(n))
	case n == LimitAudioDay || n == LimitAudioTotal:
		return phrase.New("The key's limit %s is used up.", own.Word(n))
	case n == LimitOperations && byAccount:
		return phrase.New("The operation is not within the account's limit %s.", shared.Word(n))
	case n == LimitOperations:
		return phrase.New("The operation is not within the key's limit %s.", own.Word(n))
	case byAccount:
		return phrase.New("The request would exceed the account's limit %s.", shared.Word(n))
	}
	return phrase.New("The request would exceed the key's limit %s.", own.Word(n))
}

// most is the largest number in a limit. So is the largest number of seconds, 31 years.
const most = 1_000_000_000

// ParseLimits reads limits in the form of [Limits.Words]: words such as requests=60/m, with
// spaces or commas between them. Each limit may come once.
func ParseLimits(text string) (l Limits, err error) {
	l, _, err = parseLimits(text, false)
	return l, err
}

// LimitChange changes the limits of an account.
type LimitChange struct {
	set     Limits // the limits that the change sets
	removed uint16 // the limits that the change removes: a bit for each LimitName
}

// ParseLimitChange reads a change of limits: words as [ParseLimits] reads them, which set
// limits; words such as requests=none, which remove limits; or the only word none, which
// removes all limits.
func ParseLimitChange(text string) (LimitChange, error) {
	if strings.TrimSpace(text) == "none" {
		return LimitChange{removed: 1<<limitCount - 1}, nil
	}
	set, removed, err := parseLimits(text, true)
	if err == nil && set.None() && removed == 0 {
		err = phrase.Errorf("there is no limit in it: want some, such as requests=600/m, or none")
	}
	return LimitChange{set, removed}, err
}

// Apply returns the limits after the change.
func (c LimitChange) Apply(l Limits) Limits {
	for _, n := range LimitNames() {
		if c.removed>>n&1 != 0 {
			l.set(n, 0)
		} else if v := c.set.value(n); v != 0 {
			l.set(n, v)
		}
	}
	return l
}

// parseLimits reads limits. If removes is true, the value of each can be none.
func parseLimits(text string, removes bool) (l Limits, removed uint16, err error) {
	for _, word := range splitLimits(text) {
		name, value, _ := strings.Cut(word, "=")
		n := LimitName(slices.Index(limitWords[:], name))
		switch {
		case name == "" || n >= limitCount:
			return Limits{}, 0, phrase.Errorf("unknown limit %.40q: want requests, concurrent, streams, audio, audio-total or operations, such as requests=60/m", name)
		case l.value(n) != 0 || removed>>n&1 != 0:
			return Limits{}, 0, phrase.Errorf("the limit %s is given twice: want it once", n)
		case removes && value == "none":
			removed |= 1 << n
			continue
		}
		v, err := n.parse(value)
		if err != nil {
			return Limits{}, 0, phrase.Errorf("the limit %.60q: %w", word, err)
		}
		l.set(n, v)
	}
	return l, removed, nil
}

// splitLimits splits a list of limits at spaces and commas. A part without an equals sign
// after a comma belongs to the limit before it: operations=recognize,stream is one limit.
func splitLimits(text string) (words []string) {
	for field := range strings.FieldsSeq(text) {
		begun := len(words)
		for part := range strings.SplitSeq(strings.Trim(field, ","), ",") {
			if len(words) > begun && !strings.Contains(part, "=") {
				words[len(words)-1] += "," + part
			} else {
				words = append(words, part)
			}
		}
	}
	return words
}

// parse reads the value of a limit.
func (n LimitName) parse(text string) (uint32, error) {
	switch n {
	case LimitOperations:
		s, err := parseOperations(text)
		return uint32(s), err
	case LimitRequests:
		number, rate := strings.CutSuffix(text, "/m")
		v, ok := parseNumber(number)
		if !rate || !ok {
			return 0, phrase.Errorf("want requests a minute, from 1/m to 1000000000/m, such as requests=60/m")
		}
		return v, nil
	case LimitAudioDay:
		span, rate := strings.CutSuffix(text, "/d")
		v, ok := parseSeconds(span)
		if !rate || !ok {
			return 0, phrase.Errorf("want whole seconds of audio a day, such as audio=3600s/d")
		}
		return v, nil
	case LimitAudioTotal:
		v, ok := parseSeconds(text)
		if !ok {
			return 0, phrase.Errorf("want whole seconds of audio, such as audio-total=36000s")
		}
		return v, nil
	default: // LimitConcurrent, LimitStreams
		v, ok := parseNumber(text)
		if !ok {
			return 0, phrase.Errorf("want a number from 1 to 1000000000, such as %s=4", n)
		}
		return v, nil
	}
}

// parseNumber reads a number from 1 to most, in decimal digits without zeros in front.
func parseNumber(text string) (uint32, bool) {
	v, err := strconv.ParseUint(text, 10, 32)
	return uint32(v), err == nil && v > 0 && v <= most && text[0] != '0'
}

// parseSeconds reads a duration of whole seconds, such as 3600s or 1h30m.
func parseSeconds(text string) (uint32, bool) {
	if digits, ok := strings.CutSuffix(text, "s"); ok {
		if v, ok := parseNumber(digits); ok {
			return v, true
		}
	}
	d, err := time.ParseDuration(text)
	ok := err == nil && d > 0 && d%time.Second == 0 && d <= most*time.Second && text[0] != '+'
	if !ok {
		return 0, false
	}
	return uint32(d / time.Second), true
}

// value returns the value of a limit; 0 for no limit.
func (l Limits) value(n LimitName) uint32 {
	if n == LimitOperations {
		return uint32(l.Operations)
	}
	if v := l.number(n); v != nil {
		return *v
	}
	return 0
}

// set sets the value of a limit.
func (l *Limits) set(n LimitName, v uint32) {
	if n == LimitOperations {
		l.Operations = OperationSet(v)
		return
	}
	*l.number(n) = v
}

// number returns the field of a limit that is a number; nil for other limits.
func (l *Limits) number(n LimitName) *uint32 {
	switch n {
	case LimitRequests:
		return &l.Requests
	case LimitConcurrent:
		return &l.Concurrent
	case LimitStreams:
		return &l.Streams
	case LimitAudioDay:
		return &l.AudioDay
	case LimitAudioTotal:
		return &l.AudioTotal
	default:
		return nil
	}
}

// Word returns a limit as [ParseLimits] reads it, such as requests=60/m. It returns "" if
// there is no such limit.
func (l Limits) Word(n LimitName) string {
	v := l.value(n)
	if v == 0 {
		return ""
	}
	text := strconv.FormatUint(uint64(v), 10)
	switch n {
	case LimitRequests:
		text += "/m"
	case LimitAudioDay:
		text += "s/d"
	case LimitAudioTotal:
		text += "s"
	case LimitOperations:
		text = l.Operations.String()
	default:
	}
	return n.String() + "=" + text
}

// Words returns the limits as [ParseLimits] reads them, in the order of [LimitNames]. The
// slice is empty, and not nil, if there is no limit.
func (l Limits) Words() []string {
	words := []string{}
	for _, n := range LimitNames() {
		if word := l.Word(n); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// String returns [Limits.Words] with spaces between them, or "" if there is no limit.
func (l Limits) String() string { return strings.Join(l.Words(), " ") }

// Inherit returns l with the limits of issuer that l does not have. So a child key that asks
// for no limits gets those of its issuer.
func (l Limits) Inherit(issuer Limits) Limits {
	for _, n := range LimitNames() {
		if l.value(n) == 0 {
			l.set(n, issuer.value(n))
		}
	}
	return l
}

// CheckChildLimits checks whether the issuer may issue a child key with these limits: none may
// allow more than the issuer's. Each key is counted for itself, so children of a key can use
// more than the key together. The limits of the account bound that.
func CheckChildLimits(issuer *Key, limits Limits) error {
	if n := limits.beyond(&issuer.Limits); n != NoLimit {
		return phrase.Errorf("its limit %s would allow more than that of the key that issues it, which is %s", n, issuer.Limits.Word(n))
	}
	return nil
}

// beyond returns the first limit in which l allows more than other.
func (l *Limits) beyond(other *Limits) LimitName {
	for _, n := range LimitNames() {
		v, least := l.value(n), other.value(n)
		switch {
		case least == 0:
		case n == LimitOperations && (v == 0 || v&^least != 0):
			return n
		case n != LimitOperations && (v == 0 || v > least):
			return n
		}
	}
	return NoLimit
}
