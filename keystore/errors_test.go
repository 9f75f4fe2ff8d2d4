package keystore

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// An answer of a store stays what it is, and every other error is an ErrUnavailable.
func TestFault_MarksWhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		nil, ErrNotFound, fmt.Errorf("reading: %w", ErrNotFound), refuse(ErrInvalid, "no"), notFound("key", "k"),
		fmt.Errorf("writing: %w", refuse(ErrAccountClosed, "closed")), ErrClosed, fmt.Errorf("reading: %w", ErrUnavailable),
	} {
		if got := fault(err); got != err { //nolint:errorlint // it must be the same
			t.Errorf("%v has become %v", err, got)
		}
	}
	disk := errors.New("the disk is gone")
	got := fault(disk)
	wantIs(t, got, ErrUnavailable)
	wantIs(t, got, disk)
}

// Each difference of the peppers is one.
func TestIsPepper(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		errPepperMissing: true, errPepperWrong: true, ErrNewPepper: true,
		ErrUnavailable: false, ErrNotFound: false, errNoRoom: false,
	} {
		if got := isPepper(fmt.Errorf("reading: %w", err)); got != want {
			t.Errorf("%v: %t, want %t", err, got, want)
		}
	}
}

func TestDamaged_IsAFileThatIsNoDatabase(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path := newPath(t)
	if err := os.WriteFile(path, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := tryStore(path)
	if !Damaged(err) {
		t.Errorf("%v is not taken for damage", err)
	}
	for _, err := range []error{nil, ErrClosed, ErrNotFound} {
		if Damaged(err) {
			t.Errorf("%v is taken for damage", err)
		}
	}
}
