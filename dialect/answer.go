package dialect

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// Answer is an answer of the gate in the form that the backend uses.
type Answer struct {
	Status int
	Body   string // JSON
	Header []Field
	// Template is true if Body or a value of Header has placeholders, which Fill replaces:
	// {request_id}, {time} and {path}.
	Template bool
	// Session adds the API's session header, with a new session ID.
	Session bool
	// RetryAfter is the value of Retry-After in seconds; 0 sends no such header.
	RetryAfter int
}

// retryAfter is when a client may ask again, in seconds. The vendors' libraries do so by themselves.
const retryAfter = 5

// later returns the answer with Retry-After.
func (a Answer) later() Answer {
	a.RetryAfter = retryAfter
	return a
}

// Field is a header field of an answer.
type Field struct{ Name, Value string }

// Facts are what the placeholders of an answer stand for.
type Facts struct {
	RequestID string    // of this answer
	Time      time.Time // of this answer
	Path      string    // of the request, with every credential masked
}

// Fill returns the answer with the facts in place of the placeholders. It returns an answer
// without placeholders as it is.
func (a Answer) Fill(facts func() Facts) Answer {
	if !a.Template {
		return a
	}
	f := facts()
	fill := f.replacer()
	a.Body = fill.Replace(a.Body)
	header := a.Header
	a.Header = make([]Field, len(header))
	for i, field := range header {
		a.Header[i] = Field{field.Name, fill.Replace(field.Value)}
	}
	return a
}

// replacer replaces the placeholders.
func (f *Facts) replacer() *strings.Replacer {
	path, _ := json.Marshal(f.Path) // a string always has a JSON form
	return strings.NewReplacer("{request_id}", f.RequestID, "{time}", f.Time.UTC().Format(time.RFC3339Nano), "{path}", string(path[1:len(path)-1]))
}

// Refusals are the answers of a group of operations.
type Refusals struct {
	// By has the answers for some reasons.
	By map[policy.Reason]Answer
	// Denied is the answer for every reason that is not in By.
	Denied Answer
	// Gateway is the answer if the backend's answer cannot be passed on.
	Gateway Answer
	// KeyRefused describes how the backend refuses a key. With it the gate recognizes
	// that the backend refuses the upstream key.
	KeyRefused KeyRefused
}

// KeyRefused describes the answer with which a backend refuses a key. The zero value
// describes no answer.
type KeyRefused struct {
	Status int // of HTTP; 0 if the backend has no such answer
	// Member is the set of one string in the answer's JSON object, and Value is that
	// string in a refusal. Member is nil if the status alone shows the refusal.
	Member *jsonanswer.Set
	Value  string
}

// MaxKeyRefused is the largest body of a backend's refusal of a key, in bytes. An
// answer with a larger body is not such a refusal.
const MaxKeyRefused = 4 << 10

// Describes reports whether body is the body of a refusal of a key. Body must be the
// whole body of an answer with k.Status. If Member is not a string, or comes twice,
// the body is not such a refusal.
func (k *KeyRefused) Describes(body []byte) bool {
	if k.Member == nil {
		return true
	}
	// Most answers do not contain the value, and are not parsed. The value can be
	// hidden only by an escape.
	var room [64]byte
	quoted := append(append(append(room[:0], '"'), k.Value...), '"')
	if len(body) > MaxKeyRefused || !bytes.Contains(body, quoted) && bytes.IndexByte(body, '\\') < 0 {
		return false
	}
	var members jsonanswer.Members
	members.Begin(k.Member)
	_, _ = members.Write(body)
	value, err := members.Get(0)
	return err == nil && value.Text == k.Value
}

// Refusal returns the answer to a refused call.
func (a *API) Refusal(c Call, reason policy.Reason) Answer {
	refusals := a.refusals(c)
	if answer, ok := refusals.By[reason]; ok {
		return answer
	}
	return refusals.Denied
}

// KeyRefused describes how the backend refuses the key of a call.
func (a *API) KeyRefused(c Call) *KeyRefused { return &a.refusals(c).KeyRefused }

// GatewayError returns the answer to a call if the backend's answer cannot be passed
// on.
func (a *API) GatewayError(c Call) Answer { return a.refusals(c).Gateway }

func (a *API) refusals(c Call) *Refusals {
	if c.Route == nil {
		return &a.Unlisted
	}
	return c.Route.Refusals
}

// early is the answer to TLS early data, in every API: RFC 8470, section 5.2.
var early = Answer{Status: http.StatusTooEarly, Body: `{}`}
