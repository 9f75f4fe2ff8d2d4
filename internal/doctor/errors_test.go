package doctor

import (
	"errors"
	"fmt"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// A finding is one line, and does not name its subject twice.
func TestFindings_HaveErrorsInOneLine(t *testing.T) {
	t.Parallel()
	e := &examination{place: "postgres://db.example.com/speechgate"}
	e.add(CheckKeystore, Fail, e.place, e.reason(fmt.Errorf("%w: keystore %s: %w", keystore.ErrUnavailable, e.place, errors.New("two causes:\n\tthe first\r\n\tthe second"))), "")
	e.add(CheckKeystore, Fail, e.place, e.reason(errors.New("another error of keystore "+e.place)), "")
	for i, want := range []string{"Two causes:; the first; the second.", "Another error of keystore " + e.place + "."} {
		if got := e.found[i].Message; got != want {
			t.Errorf("the message is %q, want %q", got, want)
		}
	}
}
