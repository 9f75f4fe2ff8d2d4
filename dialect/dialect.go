// Package dialect describes what each speech API looks like on the wire: its
// operations, the places where clients put their keys, the job IDs and job states
// in its answers, and its refusals.
//
// An [API] is data. The code that reads the data is the same for every API, so a
// new API is a new table and needs no new code.
package dialect

import (
	"slices"
	"time"

	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// API describes one speech API.
type API struct {
	Name   string
	Routes []Route // the first route that matches counts; a request that matches no route is refused
	Places []Place // every place where a client of the API may put a key
	// Audio is the name of the multipart part that holds the audio. The backend reads
	// no key from this part on. Audio is empty if no body holds a key.
	Audio string
	// Unlisted are the answers to requests that match no route.
	Unlisted Refusals
	// SessionHeader is the name of the answer's header field with the session ID. It
	// is sent in exactly this spelling, because some clients search for the bytes.
	SessionHeader string
	// AtRoot says that a client library of the vendor drops the path of its base URL, so that the
	// API must be at the root of a host name.
	AtRoot bool
	// Secure says that a client library of the vendor opens live streams over TLS only.
	Secure bool
	// RequestHeaders are the header fields that a client in a browser needs to send.
	RequestHeaders []string
}

// Jobs describes the jobs of an API, or another kind of resource that belongs to the account which has
// created it, such as a file. It says where IDs and states are in the backend's answers, which are JSON
// objects.
type Jobs struct {
	// Kind tells resources of different kinds apart, because the backend can give the same ID to a job
	// and to a file. It is empty for one kind of the API.
	Kind string
	// ID has the members that can have the job's ID, in the answer to a creation. The first one
	// that is present counts.
	ID *jsonanswer.Set
	// URL says that the string is a URL, and that its last segment is the ID. If no member of ID
	// is present, the last segment of the header field Location is the ID.
	URL bool
	// State has the members that can have the job's state, in the answer to a poll. The first
	// one that is read counts. It is nil if no answer has the state.
	State *jsonanswer.Set
	// States has the backend's words for the states. If a member of State may be a literal, its words
	// are true, false and null.
	States map[string]policy.JobState
	// Ended are the statuses of an answer to a poll that say that the job has ended. An answer to a
	// request for one of its results does not count: the result of a running job may not exist yet.
	Ended []int
}

// RecordID returns the ID under which the keystore has a job. A job of a kind has the kind and a slash
// before its ID; no ID has a slash. RecordID of "", and of nil, returns id.
func (j *Jobs) RecordID(id string) string {
	if j == nil || j.Kind == "" || id == "" {
		return id
	}
	return j.Kind + "/" + id
}

// Mint says where a token that the backend mints is in its answer.
type Mint struct {
	// Members has first the members that can have the token, and then those that can have its
	// expiry. Of each kind, the first one that is present counts. If Members is nil, the answer is no
	// JSON object: the whole answer is the token.
	Members *jsonanswer.Set
	// Tokens is how many members of Members can have the token.
	Tokens int
	// Query says that the member is a URL, and that this parameter of its query is the token. It is
	// empty if the member is the token.
	Query string
	// Instant says that an expiry is in seconds since 1970. Otherwise it is in seconds from now.
	Instant bool
	// Longest is how long a token is valid at most. It counts if the answer has no expiry.
	Longest time.Duration
}

// mintOf returns a Mint whose answer has the token in one of the members tokens, and its expiry in one
// of the members expiries.
func mintOf(tokens, expiries []string, longest time.Duration) *Mint {
	var wants []jsonanswer.Want
	for _, path := range tokens {
		wants = append(wants, jsonanswer.Want{Path: jsonanswer.MustPath(path)})
	}
	for _, path := range expiries {
		wants = append(wants, jsonanswer.Want{Path: jsonanswer.MustPath(path), Literal: true})
	}
	return &Mint{Members: jsonanswer.MustWants(wants...), Tokens: len(tokens), Longest: longest}
}

// apis are the dialects by name.
var apis = map[string]*API{
	AmiVoice.Name:     AmiVoice,
	AssemblyAI.Name:   AssemblyAI,
	Deepgram.Name:     Deepgram,
	OpenAI.Name:       OpenAI,
	Speechmatics.Name: Speechmatics,
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
