//go:build !cgo

package keystore

import (
	"strings"

	_ "github.com/mattn/go-sqlite3" // a stub without cgo, whose every call fails
)

func isBusy(error) bool { return false }

func isAccess(error) bool { return false }

func isFull(error) bool { return false }

// Damaged reports whether err says that a file is no database, or no longer a
// whole one.
func Damaged(error) bool { return false }

func explain(err error) error {
	if !strings.Contains(err.Error(), "requires cgo") {
		return err
	}
	return withAdvice(err, "this program was built without cgo, which SQLite needs: build it with CGO_ENABLED=1 and a C compiler")
}
