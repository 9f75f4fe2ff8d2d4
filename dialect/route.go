package dialect

import (
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// Route is the method and the path of one operation.
type Route struct {
	Method string
	// Path is compared with the escaped path that goes upstream. The segment {job} matches
	// the ID of a job. The last segment {name} matches any segment whose characters need no
	// escape, such as the name of a model.
	Path      string
	Operation policy.Operation
	// Keys are the places where the backend reads the key of this operation. A key in
	// another place of the API must be equal to it. The gate removes that second key, and
	// does not accept it alone.
	Keys []Place
	// UpstreamKey is the header field in which the backend gets the upstream key, wherever the
	// client's key was. If it is nil, the upstream key goes to each place of the client's key.
	UpstreamKey *Place
	// Unlisted are parameters of the query with which the request asks for something else than the
	// operation. Such a request is refused like a path that is not listed.
	Unlisted []string
	// Refusals are the answers to refused requests for this operation.
	Refusals *Refusals
	// Jobs says where the IDs and the states of jobs are in the answers. It is nil if the operation
	// concerns no job.
	Jobs *Jobs
	// Mint says where the token is in the answer. The operation is Mint, or a CreateJob whose answer has
	// a token too. It is nil if the answer has no token.
	Mint *Mint
	// Edits are the changes in an answer: the entries of a list that belong to other accounts are
	// dropped, and URLs of the backend lead to the gate. It is nil if nothing is changed. A route of
	// ListJobs needs it: without it, clients would see the jobs of all accounts.
	Edits *jsonanswer.Edits
	// Audio says where the audio of the operation is, so that its length can be measured. It is nil
	// if the operation has no audio, or if it cannot be measured.
	Audio *Audio
	// Stream describes the live streams of this route. It is nil if the operation is not
	// Stream.
	Stream *Stream
}

// Audio says where the audio of an operation is, and where its format is. On a live stream, the
// binary messages of the client are audio.
type Audio struct {
	// Part is the part of a form with the audio. If the body is no form, the whole body is audio.
	Part string
	// Format is the name of the parameter whose value is a format in AmiVoice's words. The
	// parameter is in the query, or is a part before the audio.
	Format string
	// Encoding, Samples and Channels are the names of parameters of the query: the encoding of
	// audio without a header, its sampling rate, and the number of its channels.
	Encoding, Samples, Channels string
	// Default is the encoding of a request that has none in its query.
	Default string
}

// withAudio returns the route with its audio.
func (r Route) withAudio(audio *Audio) Route {
	r.Audio = audio
	return r
}

// routes makes the routes of an API that have their places of keys and their answers in common.
type routes struct {
	keys        []Place
	upstreamKey *Place
	refusals    *Refusals
	jobs        *Jobs // of the operations that concern a job
}

func (r *routes) route(method, path string, op policy.Operation) Route {
	route := Route{Method: method, Path: path, Operation: op, Keys: r.keys, UpstreamKey: r.upstreamKey, Refusals: r.refusals}
	if op == policy.CreateJob || op == policy.ReadJob || op == policy.DeleteJob || op == policy.ListJobs {
		route.Jobs = r.jobs
	}
	return route
}

func (r *routes) mint(method, path string, mint *Mint) Route {
	route := r.route(method, path, policy.Mint)
	route.Mint = mint
	return route
}

func (r *routes) list(path string, edits *jsonanswer.Edits) Route {
	route := r.route(http.MethodGet, path, policy.ListJobs)
	route.Edits = edits
	return route
}

func (r *routes) stream(path string, rules *HandshakeRules) Route {
	route := r.route(http.MethodGet, path, policy.Stream)
	route.Stream = &Stream{Handshake: rules}
	return route
}

// Call is the meaning of a request's method and path in an API.
type Call struct {
	Operation policy.Operation
	Route     *Route // nil if the operation is Unlisted
	JobID     string // of ReadJob and DeleteJob, as the keystore has it: see [Jobs.RecordID]
}

// StreamRules returns the rules of the route's live streams; nil without a route, and for a route
// without streams.
func (r *Route) StreamRules() *Stream {
	if r == nil {
		return nil
	}
	return r.Stream
}

// IsJob reports whether the path of the route is the job itself, and not one of its results.
func (r *Route) IsJob() bool { return r != nil && strings.HasSuffix(r.Path, jobSegment) }

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
			return Call{Operation: route.Operation, Route: route, JobID: route.Jobs.RecordID(job)}
		}
	}
	return Call{}
}

// Knows reports whether a path belongs to the API, or whether a lenient backend could
// read it as a path of the API: a path in another case, with another slash at its
// end, or below a segment with a job ID or a name.
func (a *API) Knows(escapedPath string) bool {
	path := strings.ToLower(strings.TrimRight(escapedPath, "/"))
	for _, route := range a.Routes {
		before, _, open := strings.Cut(strings.ToLower(route.Path), "{")
		if open && strings.HasPrefix(path+"/", before) || path == strings.TrimRight(before, "/") {
			return true
		}
	}
	return false
}

// Paths returns the paths of the API's routes, with the job ID "job" and the last segment
// "name".
func (a *API) Paths() []string {
	paths := make([]string, len(a.Routes))
	for i, route := range a.Routes {
		paths[i] = strings.NewReplacer(jobSegment, "job", nameSegment, "name").Replace(route.Path)
	}
	return paths
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

// The segments of a pattern that match more than one segment of a path.
const (
	jobSegment  = "{job}"
	nameSegment = "{name}"
)

// matchPath compares a path with a pattern. A pattern has at most one segment {job}, and can
// end in {name}.
func matchPath(pattern, path string) (jobID string, ok bool) {
	if before, named := strings.CutSuffix(pattern, nameSegment); named {
		slash := strings.LastIndexByte(path, '/') + 1
		if !cleanSegment(path[slash:], ":") {
			return "", false
		}
		pattern, path = before, path[:slash]
	}
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
