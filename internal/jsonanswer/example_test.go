package jsonanswer_test

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

// Members reads the state of a job while the answer passes through the gate, in
// pieces of any size.
func ExampleMembers() {
	set := jsonanswer.MustSet("job.status")
	var members jsonanswer.Members
	members.Begin(set)
	for piece := range strings.SplitAfterSeq(`{"job":{"duration":5,"status":"done"},"format":"2.9"}`, ",") {
		_, _ = members.Write([]byte(piece))
	}
	state, err := members.Get(0)
	fmt.Println(state.Text, err)
	// Output:
	// done <nil>
}

// An Editor drops the jobs of other accounts from a list, and leads the client's next request
// back to the gate.
func ExampleEditor() {
	edits, err := jsonanswer.Changes{
		Replace: []jsonanswer.Path{jsonanswer.MustPath("next")},
		Entries: []jsonanswer.Path{jsonanswer.MustPath("jobs[].id")},
	}.Compile()
	if err != nil {
		panic(err)
	}
	own := map[string]bool{"b": true}
	editor := edits.Editor(
		func(dst, url []byte) []byte {
			return append(dst, bytes.Replace(url, []byte("https://backend.example"), []byte("https://gate.example"), 1)...)
		},
		func(ids []string, keep []bool) {
			for i, id := range ids {
				keep[i] = own[id]
			}
		},
	)
	const answer = `{"jobs": [{"id":"a"}, {"id":"b", "n":1}, {"id":"c"}], "next":"https://backend.example/jobs?page=2"}`
	for piece := range strings.SplitAfterSeq(answer, " ") {
		out, err := editor.Next([]byte(piece))
		if err != nil {
			panic(err)
		}
		fmt.Print(string(out))
	}
	fmt.Println()
	fmt.Println(editor.Close())
	// Output:
	// {"jobs": [{"id":"b", "n":1}], "next":"https://gate.example/jobs?page=2"}
	// <nil>
}
