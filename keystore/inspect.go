package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/postgres"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// Condition is what Inspect finds out about a store.
type Condition struct {
	ID     string // the store's own ID
	Schema int64  // version of its tables
	Newest int64  // version of the tables that this program makes
	// Usable is true if this program works with the tables, or can upgrade them.
	Usable bool
	// Compatible is the oldest version of programs that work with the tables that this program makes.
	Compatible int64
	Readable   []string // its files that users other than its owner can read
	Free       int64    // bytes that are free on its disk; negative if the system does not tell
	Kept       int64    // bytes of the disk that are kept free for writes that end a key
	Reserve    int64    // bytes of its reserve file; negative if there is no such file
}

// Inspect looks at the store of cfg and changes nothing, also if its schema is older than this
// program's: Open would upgrade the schema. The error is ErrNoStore if there is no file. Otherwise
// it is an ErrUnavailable, such as for a file that other users can write.
func Inspect(ctx context.Context, cfg Config) (c Condition, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return c, err
	}
	if cfg.Postgres != nil {
		return inspectPostgres(ctx, cfg)
	}
	fi, err := os.Stat(cfg.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && fi.Size() == 0:
		return c, fault(engine.NoStore("there is no keystore at " + cfg.Path))
	case err != nil:
		return c, fault(fmt.Errorf("keystore: %w", err))
	}
	place := sqlite.New(cfg.Path, true)
	if c.Readable, err = place.CheckAccess(); err != nil {
		return c, fault(fmt.Errorf("keystore %s: %w", cfg.name, err))
	}
	if c.Free = freeSpace(filepath.Dir(cfg.Path)); c.Free == spaceUnknown {
		c.Free = -1
	}
	c.Kept, c.Reserve, c.Newest, c.Compatible = cfg.minFree, -1, engine.SchemaVersion, engine.Compatible
	if fi, err := os.Lstat(cfg.Path + reserveSuffix); err == nil && fi.Mode().IsRegular() {
		c.Reserve = fi.Size()
	}
	db, err := sqlite.OpenUnchanged(cfg.Path)
	if err != nil {
		return c, fault(fmt.Errorf("keystore %s: %w", cfg.name, err))
	}
	defer func() { _ = db.Close() }() // it has written nothing
	var schema engine.Schema
	if schema, err = sqlite.ReadSchema(ctx, db); err == nil {
		c.Schema, c.Usable = schema.Version, schema.CheckNewer() == nil
		err = db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'store_id'`).Scan(&c.ID)
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err != nil {
		return c, fault(fmt.Errorf("keystore %s: %w", cfg.name, place.Advise(err)))
	}
	return c, nil
}

// inspectPostgres is Inspect for a PostgreSQL database.
func inspectPostgres(ctx context.Context, cfg Config) (c Condition, err error) {
	database := postgres.New(cfg.place, true, cfg.Logger)
	c.Newest, c.Compatible, c.Free, c.Reserve = engine.SchemaVersion, engine.Compatible, -1, -1
	var schema engine.Schema
	if c.ID, schema, err = database.Inspect(ctx); err != nil {
		return c, fault(fmt.Errorf("keystore %s: %w", cfg.name, database.Advise(err)))
	}
	c.Schema, c.Usable = schema.Version, schema.CheckNewer() == nil
	if c.Schema == 0 {
		return c, fault(engine.NoStore("there is no keystore in the database " + cfg.name))
	}
	return c, nil
}

// Server is what InspectServer finds out about a PostgreSQL server.
type Server = postgres.Server

// Unreachable reports whether an error of Open or InspectServer says that the server of the database does not answer.
func Unreachable(err error) bool {
	_, away := errors.AsType[*unreachableError](err)
	return away
}

// InspectServer looks at the PostgreSQL server of a store, and how this process reaches it. It
// changes nothing. cfg.Postgres must not be nil. The error is an ErrUnavailable.
func InspectServer(ctx context.Context, cfg Config) (s Server, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return s, err
	}
	database := postgres.New(cfg.place, true, cfg.Logger)
	if s, err = database.InspectServer(ctx); err != nil {
		if database.Unreachable(err) {
			err = &unreachableError{err}
		}
		return s, fault(fmt.Errorf("keystore %s: %w", cfg.name, database.Advise(err)))
	}
	return s, nil
}
