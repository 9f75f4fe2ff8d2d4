package keystore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

func TestFileRemovedOrInvalid(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs))
	a := f.account()
	_, secret := f.key(a.ID)
	f.find(secret)

	away := path + ".away"
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	unavailable := func() bool {
		_, err := f.FindKey(t.Context(), secret)
		return errors.Is(err, ErrUnavailable)
	}
	testutil.Eventually(t, "a missing file is noticed", unavailable)
	if err := os.WriteFile(path, []byte("garbage, and more than a header of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the log names the garbage", func() bool {
		return strings.Contains(fmt.Sprint(logs.All()), "want a keystore made by this program")
	})
	if !unavailable() {
		t.Error("garbage is served")
	}
	_, _, err := f.CreateAccount(t.Context(), start, operator, "nowhere")
	wantIs(t, err, ErrUnavailable)
	lines := logs.Len()
	f.takeOverPolling()
	for range 5 {
		f.feed.poll(t.Context())
	}
	if n := logs.Len(); n != lines {
		t.Errorf("%d more log lines while nothing changed", n-lines)
	}

	replaceFile(t, away, path)
	f.feed.poll(t.Context())
	if unavailable() {
		t.Error("the file is back, and is not served")
	}
	if accounts, _, err := f.Accounts(t.Context(), AccountList{}); err != nil || len(accounts) != 1 {
		t.Errorf("accounts after the file came back: %v, %v", accounts, err)
	}
}

// A write fails if the file is no longer at its path, also before a poll has noticed.
func TestFileRemoved_WritesFailAtOnce(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path := newPath(t)
	f := openStore(t, path, commandLine)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, _, err := f.CreateAccount(t.Context(), start, operator, "nowhere")
	wantIs(t, err, ErrUnavailable)
}
