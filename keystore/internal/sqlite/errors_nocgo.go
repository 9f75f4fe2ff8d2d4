//go:build !cgo

package sqlite

import (
	"strings"

	_ "github.com/mattn/go-sqlite3" // without cgo this is a stub: every call fails

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

func isBusy(error) bool { return false }

func isAccess(error) bool { return false }

func isFull(error) bool { return false }

// Damaged returns false: without cgo, no file is opened.
func Damaged(error) bool { return false }

func explain(err error) error {
	if !strings.Contains(err.Error(), "requires cgo") {
		return err
	}
	return engine.WithAdvice(err, "this program was built without cgo, which SQLite needs: build it with CGO_ENABLED=1 and a C compiler")
}
