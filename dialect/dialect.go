// Package dialect describes what each speech API looks like on the wire: its
// operations, the places where clients put their keys, the job IDs and job states
// in its answers, and its refusals.
//
// An [API] is data. The code that reads the data is the same for every API, so a
// new API is a new table and needs no new code.
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

// Place is a place in a request where a client may put its key.
type Place struct {
	Location Location
	// Name is the name of the header field in net/http's canonical form, or the name
	// of the parameter or part.
	Name string
	// Scheme is the authentication scheme before the key in a header field, such as
	// Bearer. A space separates them. Upper and lower case are the same. Scheme is
	// empty if the value is the key itself.
	Scheme string
	// SubKey is the name of the name=value pair that holds the key, if the value
	// consists of such pairs. Single spaces separate the pairs, and their values are
	// percent-encoded. SubKey is empty if the whole value is the key.
	SubKey string
}

// Route is the method and the path of one operation.
type Route struct {
	Method string
	// Path is compared with the escaped path that goes upstream. The segment {job}
	// matches any job ID.
	Path      string
	Operation policy.Operation
	// Keys are the places where the backend reads the key of this operation. A key in
	// another place of the API must be equal to it. The gate removes that second key, and
	// does not accept it alone.
	Keys []Place
	// Refusals are the answers to refused requests for this operation.
	Refusals *Refusals
}

// Answer is an answer of the gate in the form that the backend uses.
type Answer struct {
	Status int
	Body   string // JSON
	// Session adds the API's session header, with a new session ID.
	Session bool
	// RetryAfter is the value of Retry-After in seconds; 0 sends no such header.
	RetryAfter int
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
	// Member is a member of the answer's top-level JSON object, and Value is the string in
	// that member. Member is empty if the status alone shows the refusal.
	Member, Value string
}

// MaxKeyRefused is the largest body of a backend's refusal of a key, in bytes. An
// answer with a larger body is not such a refusal.
const MaxKeyRefused = 4 << 10

// Describes reports whether body is the body of a refusal of a key. Body must be the
// whole body of an answer with k.Status. If Member is not a string, or comes twice,
// the body is not such a refusal.
func (k *KeyRefused) Describes(body []byte) bool {
	if k.Member == "" {
		return true
	}
	// Most answers do not contain the value, and are not parsed. The value can be
	// hidden only by an escape.
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

// Jobs says where job IDs and job states are in the backend's answers, which are
// JSON objects.
type Jobs struct {
	ID     string                     // the member with the job's ID, in the answer to a creation
	State  string                     // the member with the job's state, in the answer to a poll
	States map[string]policy.JobState // the backend's words for the states
}

// API describes one speech API.
type API struct {
	Name   string
	Routes []Route // the first route that matches counts; a request that matches no route is refused
	Places []Place // every place where a client of the API may put a key
	// Audio is the name of the multipart part that holds the audio. The backend reads
	// no key from this part on. Audio is empty if no body holds a key.
	Audio string
	Jobs  Jobs
	// Stream describes live streams. It is nil if the key of a stream is in its
	// handshake, or if the API has no live streams.
	Stream *StreamRules
	// Unlisted are the answers to requests that match no route.
	Unlisted Refusals
	// SessionHeader is the name of the answer's header field with the session ID. It
	// is sent in exactly this spelling, because some clients search for the bytes.
	SessionHeader string
	// RequestHeaders are the header fields that a client in a browser needs to send.
	RequestHeaders []string
}

// Call is the meaning of a request's method and path in an API.
type Call struct {
	Operation policy.Operation
	Route     *Route // nil if the operation is Unlisted
	JobID     string // of ReadJob and DeleteJob
}

// apis are the dialects by name.
var apis = map[string]*API{
	AmiVoice.Name: AmiVoice,
}

// Names returns the names of all dialects, sorted.
func Names() []string {
	names := make([]string, 0, len(apis))
	for name := range apis {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ByName returns the dialect with this name.
func ByName(name string) (*API, bool) {
	api, ok := apis[name]
	return api, ok
}

// Classify returns what a request with this method and path asks for. The path is
// the escaped path that goes upstream. A path with an escape, a dot segment or a
// doubled slash matches no route.
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

// Knows reports whether a path belongs to the API, or whether a lenient backend could
// read it as a path of the API: a path in another case, with another slash at its
// end, or below a job.
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

// Paths returns the paths of the API's routes, with the job ID "job".
func (a *API) Paths() []string {
	paths := make([]string, len(a.Routes))
	for i, route := range a.Routes {
		paths[i] = strings.ReplaceAll(route.Path, jobSegment, "job")
	}
	return paths
}

// CleanPath reports whether every parser reads this path in the same way: the path
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

// Methods returns the methods that the API has for a path. It returns none for a
// path that the API does not have.
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

// matchPath compares a path with a pattern. A pattern has at most one segment {job}.
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

// ValidJobID reports whether id can be a job's ID: 1 to 128 characters that need no
// escape in the path of a URL, and not a dot segment. Another ID matches no route,
// and is not accepted from the backend.
func ValidJobID(id string) bool { return len(id) <= maxJobIDLen && cleanSegment(id, "") }

// cleanSegment reports whether all characters of a path segment are unreserved
// characters of RFC 3986, or in more.
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
