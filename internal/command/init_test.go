package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"github.com/spf13/cobra"
)

// closingStorage is one that is no use after its Cleanup, as one with a connection is.
type closingStorage struct {
	certmagic.FileStorage
	closed bool
}

func (*closingStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.closing", New: func() caddy.Module { return new(closingStorage) }}
}

func (s *closingStorage) CertMagicStorage() (certmagic.Storage, error) { return s, nil }

func (s *closingStorage) Cleanup() error {
	s.closed = true
	return nil
}

func (s *closingStorage) Store(ctx context.Context, key string, value []byte) error {
	if s.closed {
		return errors.New("the storage is closed")
	}
	return s.FileStorage.Store(ctx, key, value)
}

func init() { caddy.RegisterModule(new(closingStorage)) }

func TestR17_CommandsUseAStorageBeforeTheyCloseIt(t *testing.T) { //nolint:paralleltest // sets Caddy's default storage
	dir := t.TempDir()
	file := filepath.Join(dir, "caddy.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"storage":{"module":"closing","Path":%q}}`, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := new(cobra.Command)
	cmd.SetContext(t.Context())
	cmd.Flags().String(flagConfig, file, "")
	cmd.Flags().String(flagAdapter, "", "")
	history, done, err := historyOf(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := history.Storage.Store(t.Context(), "key", []byte("value")); err != nil {
		t.Error(err)
	}
	done()
	if !history.Storage.(*closingStorage).closed {
		t.Error("the storage is not closed in the end")
	}
}
