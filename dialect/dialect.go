// Package dialect says what each speech API looks like on the wire: which
// operations it has, where clients put their keys, where job IDs and job
// states stand in its answers, and how it says no.
//
// An [API] is data. What reads it is the same for every API, so that another
// one is another table and no other code.
package dialect

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Location says which part of a request a key is in.
type Location uint8

// The parts of a request that can hold a key.
const (
	Header Location = iota + 1 // a header field
	Query                      // a parameter of the query
	Part                       // a part of a multipart/form-data body
)

// Place is one spot of a request where a client may put its key.
type Place struct {
	Location Location
	Name     string // of the header field, as net/http spells it, parameter or part
	// Scheme stands before the key in a header, separated by a space, in any
	// case of letters; empty where the value is the bare key.
	Scheme string
	// SubKey names the one among the value's name=value pairs that is the key;
	// empty where the whole value is. Pairs are separated by single spaces and
	// their values percent-encoded.
	SubKey string
}

// Route is one operation's method and path.
type Route struct {
	Method string
	// Path is compared segment by segment with the path as it goes upstream,
	// escapes and all. The segment {job} stands for any job ID.
	Path      string
	Operation policy.Operation
	// Keys are the places where the backend reads the key of this operation.
	// A key elsewhere counts when keys are compared, and is removed, but
	// authenticates nothing.
	Keys []Place
	// Refusals are the answers for this operation.
	Refusals *Refusals
}

// Answer is a response in the backend's own form.
type Answer struct {
	Status int
	Body   string // JSON
	// Session asks for a session ID in the API's session header.
	Session bool
	// RetryAfter is in seconds; 0 sends no such header.
	RetryAfter int
}

// Refusals are the answers of a group of operations.
type Refusals struct {
	// Denied answers every reason that By does not name.
	Denied Answer
	By     map[policy.Reason]Answer
	// Gateway says that the backend's answer could not be passed on.
	Gateway Answer
	// KeyRefused says how the backend itself refuses a key here. The gate then knows
	// when its own key is refused.
	KeyRefused KeyRefused
}

// KeyRefused describes the answer by which a backend refuses a key. The zero value
// describes none.
type KeyRefused struct {
	Status int // of HTTP; 0 where the backend has no such answer
	// Member and Value are a member of the answer's top-level JSON object, and the
	// string that it then has. Member is empty where the status says it all.
	Member, Value string
}

// MaxKeyRefused is the most bytes that the body of a backend's refusal of a key has.
// A larger body is something else.
const MaxKeyRefused = 4 << 10

// Describes reports whether a whole body is a refusal of a key, which came with
// Status. A body of which the value is not a string, or that has Member twice, is not.
func (k *KeyRefused) Describes(body []byte) bool {
	if k.Member == "" {
		return true
	}
	// Most answers do not have the value. Only a string with an escape can hide it.
	var room [64]byte
	quoted := append(append(append(room[:0], '"'), k.Value...), '"')
	if len(body) > MaxKeyRefused || !bytes.Contains(body, quoted) && bytes.IndexByte(body, '\\') < 0 {
		return false
	}
	var members Members
	members.Begin(k.Member)
	_, _ = members.Write(body)
	value, err := members.Get(k.Member)
	return err == nil && value == k.Value
}

// Jobs says how jobs show in the backend's answers, which are JSON objects.
type Jobs struct {
	ID     string                     // the member of a creation's answer that is the job's ID
	State  string                     // the member of a poll's answer that is the job's state
	States map[string]policy.JobState // the words for it
}

// API describes one speech API.
type API struct {
	Name   string
	Routes []Route // the first that fits counts; an operation that none fits is refused
	Places []Place // every place where the API's clients may put a key
	// Audio names the multipart part that holds the audio. The backend reads no
	// key from it on. Empty where no body holds a key.
	Audio string
	Jobs  Jobs
	// Stream says how the operation Stream runs; nil where the key of a stream
	// comes in its handshake, or there are no streams.
	Stream *StreamRules
	// Unlisted answers what no route fits.
	Unlisted Refusals
	// SessionHeader carries the ID of a session in answers, in this very
	// spelling: some clients search for the bytes.
	SessionHeader string
	// RequestHeaders are those that a browser's client needs to send.
	RequestHeaders []string
}

// Call is a request as the API reads it.
type Call struct {
	Operation policy.Operation
	Route     *Route // nil where the operation is unlisted
	JobID     string // of ReadJob and DeleteJob
}

// apis are the dialects there are.
var apis = map[string]*API{
	AmiVoice.Name: AmiVoice,
}

// Names lists the dialects in order.
func Names() []string {
	names := make([]string, 0, len(apis))
	for name := range apis {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ByName returns the dialect of that name.
func ByName(name string) (*API, bool) {
	api, ok := apis[name]
	return api, ok
}

// Classify reads a request's method and path. The path is the escaped form
// that goes upstream: an escape, a dot segment or a doubled slash fits no
// route.
func (a *API) Classify(method, escapedPath string) Call {
	for i := range a.Routes {
		route := &a.Routes[i]
		if route.Method != method {
			continue
		}
		if job, ok := matchPath(route.Path, escapedPath); ok {
			return Call{Operation: route.Operation, Route: route, JobID: job}
		}
	}
	return Call{}
}

// Knows reports whether a path is one of the API's, or one that a lax backend
// could take for one: in another case, with a slash too many, or below a job.
func (a *API) Knows(escapedPath string) bool {
	path := strings.ToLower(strings.TrimRight(escapedPath, "/"))
	for _, route := range a.Routes {
		before, _, hasJob := strings.Cut(strings.ToLower(route.Path), jobSegment)
		if hasJob && strings.HasPrefix(path+"/", before) || path == strings.TrimRight(before, "/") {
			return true
		}
	}
	return false
}

// Paths lists the paths of the API's routes. Where a route has a job's ID, it is
// "job".
func (a *API) Paths() []string {
	paths := make([]string, len(a.Routes))
	for i, route := range a.Routes {
		paths[i] = strings.ReplaceAll(route.Path, jobSegment, "job")
	}
	return paths
}

// CleanPath reports whether every parser reads the same path in this one: it
// begins with a slash and has no escapes, wildcards, dot segments or doubled
// slashes.
func CleanPath(path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	rest = strings.TrimSuffix(rest, "/")
	for segment := range strings.SplitSeq(rest, "/") {
		if !cleanSegment(segment, ":") && path != "/" {
			return false
		}
	}
	return true
}

// Methods lists the methods that the API has for a path; none where the path
// is not its.
func (a *API) Methods(escapedPath string) []string {
	var methods []string
	for _, route := range a.Routes {
		if _, ok := matchPath(route.Path, escapedPath); ok {
			methods = append(methods, route.Method)
		}
	}
	return methods
}

const (
	jobSegment  = "{job}"
	maxJobIDLen = 128
)

// matchPath compares a path with a pattern, which has at most one job segment.
func matchPath(pattern, path string) (jobID string, ok bool) {
	before, after, hasJob := strings.Cut(pattern, jobSegment)
	if !hasJob {
		return "", path == pattern
	}
	if len(path) <= len(before)+len(after) || !strings.HasPrefix(path, before) || !strings.HasSuffix(path, after) {
		return "", false
	}
	jobID = path[len(before) : len(path)-len(after)]
	return jobID, ValidJobID(jobID)
}

// ValidJobID reports whether id can be a job's ID: 1 to 128 characters that a
// URL's path carries unescaped, and no dot segment. IDs in other forms fit no
// route, and are not accepted from the backend.
func ValidJobID(id string) bool { return len(id) <= maxJobIDLen && cleanSegment(id, "") }

// cleanSegment reports whether a path's segment has unreserved characters only,
// or those of more.
func cleanSegment(segment, more string) bool {
	if segment == "" || segment == "." || segment == ".." {
		return false
	}
	for i := range len(segment) {
		c := segment[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-_.~"+more, c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Refusal is the answer to a refused call.
func (a *API) Refusal(c Call, reason policy.Reason) Answer {
	refusals := a.refusals(c)
	if answer, ok := refusals.By[reason]; ok {
		return answer
	}
	return refusals.Denied
}

// KeyRefused says how the backend refuses the key of a call.
func (a *API) KeyRefused(c Call) *KeyRefused { return &a.refusals(c).KeyRefused }

// GatewayError is the answer where the backend's own cannot be passed on.
func (a *API) GatewayError(c Call) Answer { return a.refusals(c).Gateway }

func (a *API) refusals(c Call) *Refusals {
	if c.Route == nil {
		return &a.Unlisted
	}
	return c.Route.Refusals
}

// early answers TLS early data, whatever the API: RFC 8470, section 5.2.
var early = Answer{Status: http.StatusTooEarly, Body: `{}`}
