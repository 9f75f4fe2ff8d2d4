package keystore

import (
	"context"
	"fmt"

	"github.com/speechgate/speechgate/keystore/internal/postgres"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// CheckNew returns the error that [Open] would return when it creates the store, as far as
// this can be known without creating anything: a directory that cannot be made or written,
// or that other users can write, and a file system without free space. The error is an
// ErrUnavailable.
func CheckNew(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if cfg.Postgres != nil {
		if err := postgres.New(cfg.place, true, cfg.Logger).CheckNew(ctx); err != nil {
			return fault(fmt.Errorf("keystore %s: %w", cfg.name, err))
		}
		return nil
	}
	dir, err := sqlite.CheckPlace(cfg.Path)
	if err == nil && freeSpace(dir) == 0 { // also file systems that keep no files, such as /proc
		err = fmt.Errorf("no file can be made in %s: its file system is full, or keeps no files", dir)
	}
	if err != nil {
		return fault(fmt.Errorf("keystore %s: %w", cfg.name, err))
	}
	return nil
}
