package keystore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/postgres"
	"github.com/speechgate/speechgate/policy"
)

// DefaultMaxStaleness is the default of Config.MaxStaleness.
const DefaultMaxStaleness = 5 * time.Second

// Config says which store to open, and how.
type Config struct {
	// Path is the database file. The file and missing directories are created, and
	// only their owner can read them. Not used with Postgres.
	Path string
	// Postgres says in which PostgreSQL database the store is, which the processes of many
	// machines may share. Default: the store is the SQLite file at Path.
	Postgres *Postgres
	// Pepper goes into every digest. Default: no pepper. If the store has no pepper,
	// this pepper is added to the store, which cannot be undone.
	Pepper policy.Secret
	// KeepPepper makes Open fail if Pepper would be added to the store.
	KeepPepper bool
	// PepperFault says why Pepper must not be added to any store. Open returns
	// PepperFault if Pepper would be added. A store that has this pepper already can
	// still be opened, because a pepper cannot be changed. Default: nil.
	PepperFault error
	// MustExist makes Open return ErrNoStore if there is no file or an empty one, or if the
	// PostgreSQL database has no tables of a store.
	// Default: the store is created.
	MustExist bool
	// MaxStaleness is how long cached records are trusted when the change feed
	// cannot be read. Default: [DefaultMaxStaleness].
	MaxStaleness time.Duration
	// Retention is how long ended keys and jobs are kept. Default: 90 days.
	Retention time.Duration
	// CacheBytes is how much memory cached records may take, in bytes: one half for
	// keys, three eighths for jobs, one sixteenth for tokens, and one sixteenth for the
	// digests of unknown keys. From MinCacheBytes to MaxCacheBytes. Default: 128 MiB.
	CacheBytes int64
	// Clock is the time for the background work. Default: a [SystemClock].
	Clock func() policy.Time
	// Ahead returns how far Clock is ahead of the wall clock. The log tells the
	// operator. Default: the Ahead of the default Clock; nil if Clock is set.
	Ahead func() time.Duration
	// Wrote is told of every transaction that writes, before the callers get their results.
	// It must not block. Default: nobody is told.
	Wrote func(Written)
	// Logger gets the events of the background work. Default: no log.
	Logger *zap.Logger
	// CommandLine opens the store for one command beside a running server. The store
	// caches nothing, has no background work, and refuses a file of another user.
	CommandLine bool

	name  string         // of the store, for people: its path, or its place without a password
	place postgres.Place // with Postgres

	// Only tests set these. See diskRoom.
	minFree int64 // bytes of the disk that are kept free. Default: minFreeBytes
	reserve int64 // bytes of the reserve. Default: ReserveBytes

	// random returns a time below another one. It is for the pauses of the follower of the change feed, and
	// only the follower's goroutine calls it. Default: rand.N. Simulations set it.
	random func(below time.Duration) time.Duration

	// replicaBegins is within how long the replica begins, at a random time: gateways start together. Default: replicaEvery.
	replicaBegins time.Duration
}

// Postgres is a PostgreSQL database, and how to reach it.
type Postgres struct {
	// DSN is the connection string: a URL such as
	// postgres://gateway@db.example.com/speechgate, or keywords and values such as
	// host=db.example.com dbname=speechgate. Variables and files of PostgreSQL's own
	// programs, such as PGPASSFILE, fill in what is missing. Without sslmode, a connection
	// to another machine has verify-full. Required.
	DSN policy.Secret
	// Direct is the connection string of a connection that bypasses a pooler, for LISTEN,
	// migrations, backups and restores. Default: DSN.
	Direct policy.Secret
	// PasswordFile is a file with the password of both. It is read for each new connection, so
	// that the password can change while the store is open. Default: the password of the
	// connection string, or of the variables and files of PostgreSQL's own programs.
	PasswordFile string
	// Replica is the absolute path of a directory, in which the store keeps a copy of the records that lookups need:
	// all keys that have not ended, and the jobs and tokens that this process has recorded or looked up. If the
	// database cannot be reached, lookups read the copy until Config.MaxStaleness after the last word of the
	// database, also in a store that is opened meanwhile. The directory is made, and only its owner can
	// read it. One store writes it at a time: the one that was opened last. Not used with Config.CommandLine.
	// Default: no replica.
	Replica string
	// AdmitJobs records new jobs in the file jobs.db of Replica while the database does not answer and the replica may
	// be used, and sends them on to the database afterwards. Only this machine knows such a job until then: a gateway
	// elsewhere calls it unknown, and a loss of the disk loses its record. A key that was revoked elsewhere still
	// creates jobs. Without AdmitJobs, new jobs are refused meanwhile; jobs that the file has from before are sent on
	// in every case. It needs Replica. Default: false.
	AdmitJobs bool
}

// Name returns the place of the store for people, without a password: the path, or a URL such as
// postgres://db.example.com/speechgate. The error is that of Open for a place that cannot be.
func (cfg Config) Name() (string, error) {
	cfg, err := cfg.withPlace()
	return cfg.name, err
}

// withPlace checks where the store is.
func (cfg Config) withPlace() (_ Config, err error) {
	if cfg.Postgres != nil {
		if cfg.place, err = postgres.ParsePlace(cfg.Postgres.DSN.Reveal(), cfg.Postgres.Direct.Reveal()); err != nil {
			return cfg, fmt.Errorf("keystore postgres: %w", err)
		}
		cfg.place = cfg.place.WithPasswordFile(cfg.Postgres.PasswordFile)
		cfg.Path, cfg.name = "", cfg.place.String()
		if dir := cfg.Postgres.Replica; dir != "" && (!filepath.IsAbs(dir) || strings.ContainsRune(dir, 0)) {
			return cfg, fmt.Errorf("keystore postgres: replica %q: want the whole path of a directory, such as /var/lib/speechgate/replica", dir)
		}
		if cfg.Postgres.AdmitJobs && cfg.Postgres.Replica == "" {
			return cfg, errors.New("keystore postgres: admit_jobs needs replica: want the directory in which new jobs wait, such as replica /var/lib/speechgate/replica")
		}
		return cfg, nil
	}
	if cfg.Path == "" || strings.ContainsRune(cfg.Path, 0) {
		return cfg, fmt.Errorf("keystore path %q: want the name of a file", cfg.Path)
	}
	if cfg.Path, err = filepath.Abs(cfg.Path); err != nil {
		return cfg, fmt.Errorf("keystore %s: %w", cfg.Path, err)
	}
	cfg.name = cfg.Path
	return cfg, nil
}

func (cfg Config) withDefaults() (Config, error) {
	cfg, err := cfg.withPlace()
	if err != nil {
		return cfg, err
	}
	if cfg.MaxStaleness < 0 || cfg.Retention < 0 {
		return cfg, fmt.Errorf("keystore %s: a staleness or retention below zero: want zero for the default, or more", cfg.name)
	}
	if cfg.CacheBytes != 0 && (cfg.CacheBytes < MinCacheBytes || cfg.CacheBytes > MaxCacheBytes) {
		return cfg, fmt.Errorf("keystore %s: a cache of %d bytes: want zero for the default, or from %d to %d", cfg.name, cfg.CacheBytes, MinCacheBytes, int64(MaxCacheBytes))
	}
	setDefault(&cfg.MaxStaleness, DefaultMaxStaleness)
	setDefault(&cfg.Retention, 90*24*time.Hour)
	setDefault(&cfg.CacheBytes, defaultCacheBytes)
	setDefault(&cfg.minFree, minFreeBytes)
	setDefault(&cfg.reserve, ReserveBytes)
	setDefault(&cfg.replicaBegins, replicaEvery)
	if cfg.Clock == nil {
		clock := SystemClock()
		cfg.Clock, cfg.Ahead = clock.Now, clock.Ahead
	}
	if cfg.random == nil {
		cfg.random = rand.N[time.Duration]
	}
	if cfg.Wrote == nil {
		cfg.Wrote = func(Written) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	cfg.Logger = cfg.Logger.With(zap.String("keystore", cfg.name))
	return cfg, nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}
