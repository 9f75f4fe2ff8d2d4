package policy

import (
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
)

// OperationSet is a set of operations. The zero value stands for every operation.
type OperationSet uint16

// limitable are the operations that a limit can name. Uploading audio belongs to creating a
// job. The right to issue keys is not a limit, but a restriction of its own.
const limitable OperationSet = 1<<Recognize | 1<<CreateJob | 1<<ReadJob | 1<<DeleteJob | 1<<Stream | 1<<ListJobs | 1<<Info | 1<<Mint

// LimitableOperations returns the words of the operations that a limit can name.
func LimitableOperations() []string { return strings.Split(limitable.String(), ",") }

// Allows reports whether a key with this limit may use an operation. ReadJob and IssueKey
// are always allowed, and Upload is if CreateJob is.
func (s OperationSet) Allows(o Operation) bool {
	if o == Upload {
		o = CreateJob
	}
	return s == 0 || s>>o&1 != 0 || !o.Limited()
}

// String returns the words of the operations with commas between them, or "" for every
// operation.
func (s OperationSet) String() string {
	var words []string
	for o := range operationCount {
		if s>>o&1 != 0 {
			words = append(words, o.String())
		}
	}
	return strings.Join(words, ",")
}

// parseOperations reads the words of operations with commas between them.
func parseOperations(text string) (s OperationSet, err error) {
	for word := range strings.SplitSeq(text, ",") {
		o, ok := ParseOperation(word)
		if !ok || limitable>>o&1 == 0 {
			return 0, phrase.Errorf("unknown operation %.40q: want some of %s", word, strings.ReplaceAll(limitable.String(), ",", ", "))
		}
		s |= 1 << o
	}
	return s, nil
}
