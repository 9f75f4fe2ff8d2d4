package policy

import "slices"

// Operation is the kind of work that a request asks for. The dialect of the API
// derives it from the method and the path.
type Operation uint8

// The operations. The zero value is Unlisted, which is always refused.
const (
	Unlisted  Operation = iota // the dialect does not list this operation
	Recognize                  // synchronous recognition
	CreateJob                  // start an asynchronous recognition
	ReadJob                    // poll a job or fetch its result
	DeleteJob                  // delete a job
	Stream                     // live recognition over a WebSocket
	ListJobs                   // list jobs
	Info                       // read something that belongs to no account, such as the list of models
	Mint                       // ask the backend for a short-lived token
	IssueKey                   // issue a key of this gateway
	Upload                     // store audio at the backend for a job that is created later

	operationCount
)

var operationWords = [operationCount]string{
	Unlisted:  "unlisted",
	Recognize: "recognize",
	CreateJob: "create_job",
	ReadJob:   "read_job",
	DeleteJob: "delete_job",
	Stream:    "stream",
	ListJobs:  "list_jobs",
	Info:      "info",
	Mint:      "mint",
	IssueKey:  "issue_key",
	Upload:    "upload",
}

// Operations lists every operation except Unlisted, in order.
func Operations() []Operation {
	all := make([]Operation, 0, operationCount-1)
	for o := Recognize; o < operationCount; o++ {
		all = append(all, o)
	}
	return all
}

// ParseOperation returns the operation with this word. ok is false if there is no such operation.
func ParseOperation(word string) (o Operation, ok bool) {
	i := slices.Index(operationWords[:], word)
	return Operation(max(i, 0)), i > int(Unlisted)
}

// Limited reports whether limits of keys and accounts apply to the operation. Reading jobs is
// never limited, and the issuance API has limits of its own.
func (o Operation) Limited() bool { return o != ReadJob && o != IssueKey }

// SendsAudio reports whether a request for the operation has audio in it.
func (o Operation) SendsAudio() bool {
	return o == Recognize || o == CreateJob || o == Upload || o == Stream
}

// String returns the operation's word.
func (o Operation) String() string {
	if o >= operationCount {
		o = Unlisted
	}
	return operationWords[o]
}
