package keystore_test

import (
	"path/filepath"
	"testing"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/keystore/keystoretest"
)

// The keystore keeps its contract on SQLite.
func TestContract_SQLite(t *testing.T) {
	t.Parallel()
	keystoretest.Run(t, func(t *testing.T) keystore.Config {
		t.Helper()
		return keystore.Config{Path: filepath.Join(t.TempDir(), "keystore.db")}
	})
}
