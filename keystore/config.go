package keystore

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

// Config says which store to open, and how.
type Config struct {
	// Path is the database file. The file and missing directories are made,
	// for the owner's eyes only.
	Path string
	// Pepper goes into every digest. Empty is none. Given to a store that has
	// none, it is added to it, irreversibly.
	Pepper policy.Secret
	// KeepPepper refuses a store that has no pepper instead of adding one.
	KeepPepper bool
	// PepperFault says why Pepper must not be given to any store. It is the error
	// where a pepper would be added; a store that has this pepper already keeps
	// it, because a pepper cannot be changed. Default: none.
	PepperFault error
	// MustExist refuses, with ErrNoStore, to make a store where there is no file
	// or an empty one. Default: the store is made.
	MustExist bool
	// MaxStaleness is how long cached records are trusted when the change feed
	// cannot be read. Default 5 seconds.
	MaxStaleness time.Duration
	// Retention is how long ended keys and jobs are kept. Default 90 days.
	Retention time.Duration
	// CacheBytes is how much memory cached records may take: half of it those of
	// keys, three eighths those of jobs, and an eighth the digests of unknown
	// keys. From MinCacheBytes to MaxCacheBytes; default DefaultCacheBytes.
	CacheBytes int64
	// Clock is the time by which the store acts by itself. Default: a [SystemClock].
	Clock func() policy.Time
	// Ahead is how far Clock is ahead of the wall clock, for the operator to be
	// told. Default: that of the default Clock; nil with another Clock.
	Ahead func() time.Duration
	// Logger gets what happens in the background. Default: none.
	Logger *zap.Logger
	// MinFree is the free space on the disk, in bytes, below which only writes that
	// end something are made. Default: MinFreeBytes.
	MinFree int64
	// Reserve is the size of the reserve, in bytes. Default: ReserveBytes.
	Reserve int64
	// CommandLine opens the store for one command beside a running server: it
	// caches nothing and runs nothing in the background, and refuses a file
	// that belongs to another user.
	CommandLine bool
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Path == "" || strings.ContainsRune(cfg.Path, 0) {
		return cfg, fmt.Errorf("keystore path %q: want the name of a file", cfg.Path)
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return cfg, fmt.Errorf("keystore %s: %w", cfg.Path, err)
	}
	cfg.Path = path
	if cfg.MaxStaleness < 0 || cfg.Retention < 0 {
		return cfg, fmt.Errorf("keystore %s: a staleness or retention below zero: want zero for the default, or more", cfg.Path)
	}
	if cfg.CacheBytes != 0 && (cfg.CacheBytes < MinCacheBytes || cfg.CacheBytes > MaxCacheBytes) {
		return cfg, fmt.Errorf("keystore %s: a cache of %d bytes: want zero for the default, or from %d to %d", cfg.Path, cfg.CacheBytes, MinCacheBytes, int64(MaxCacheBytes))
	}
	setDefault(&cfg.MaxStaleness, 5*time.Second)
	setDefault(&cfg.Retention, 90*24*time.Hour)
	setDefault(&cfg.CacheBytes, DefaultCacheBytes)
	setDefault(&cfg.MinFree, MinFreeBytes)
	setDefault(&cfg.Reserve, ReserveBytes)
	if cfg.Clock == nil {
		clock := SystemClock()
		cfg.Clock, cfg.Ahead = clock.Now, clock.Ahead
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	cfg.Logger = cfg.Logger.With(zap.String("keystore", cfg.Path))
	return cfg, nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}
