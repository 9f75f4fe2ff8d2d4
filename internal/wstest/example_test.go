package wstest_test

import (
	"bytes"
	"fmt"

	"github.com/speechgate/speechgate/internal/wstest"
)

// A text message in two frames, masked as a browser does it.
func ExampleFragments() {
	sent := bytes.Join(wstest.Fragments(wstest.OpText, wstest.Mask(), "hello", 2), nil)
	for r := bytes.NewReader(sent); r.Len() > 0; {
		fmt.Println(wstest.ReadFrame(r))
	}
	// Output:
	// {fin false, opcode 1, masked true, 2 bytes "he"} <nil>
	// {fin true, opcode 0, masked true, 3 bytes "llo"} <nil>
}
