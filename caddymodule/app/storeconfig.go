package app

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// StoreConfig returns the settings of the keystore, with placeholders and defaults resolved.
// An error shows no secret.
func (a *App) StoreConfig() (keystore.Config, error) {
	cfg := keystore.Config{
		MaxStaleness: time.Duration(a.MaxStaleness),
		Retention:    time.Duration(a.Retention),
		CacheBytes:   a.CacheSize,
		Logger:       caddy.Log().Named(Name + ".keystore"),
	}
	if a.MaxStaleness != 0 && (cfg.MaxStaleness < leastStaleness || cfg.MaxStaleness > mostStaleness) {
		return cfg, fmt.Errorf("max_staleness %s: want a duration such as 5s, from 1s to 24h", cfg.MaxStaleness)
	}
	if err := a.validateStreamStaleness(); err != nil {
		return cfg, err
	}
	if a.Retention != 0 && (cfg.Retention < leastRetention || cfg.Retention > mostRetention) {
		return cfg, fmt.Errorf("retention %s: want a duration such as 90d, from 1h to 36500d", cfg.Retention)
	}
	if a.CacheSize != 0 && (a.CacheSize < keystore.MinCacheBytes || a.CacheSize > keystore.MaxCacheBytes) {
		return cfg, fmt.Errorf("cache_size %d: want a size from 1MiB to 64GiB", a.CacheSize)
	}
	err := a.Keystore.place(&cfg)
	if err != nil {
		return cfg, err
	}
	cfg.MustExist = a.Keystore.MustExist
	if a.Pepper == "" {
		return cfg, nil
	}
	cfg.Pepper, cfg.PepperFault, err = options.ResolvePepper(a.Pepper)
	return cfg, err
}

// defaultKeystorePath is the path of the keystore if no other is configured.
func defaultKeystorePath() string {
	return filepath.Join(caddy.AppDataDir(), "speechgate", "keystore.db")
}

// storeKey returns the key under which a store is in the pool. Two configurations share a store
// if their settings in this key are the same. The secrets are in the key as a hash.
func storeKey(name string, cfg *keystore.Config, create bool) string {
	secrets := []policy.Secret{cfg.Pepper}
	if p := cfg.Postgres; p != nil {
		secrets = append(secrets, p.DSN, p.Direct, policy.NewSecret(p.PasswordFile), policy.NewSecret(p.Replica), policy.NewSecret(strconv.FormatBool(p.AdmitJobs)))
	}
	hash := sha256.New()
	for _, secret := range secrets {
		_, _ = fmt.Fprintf(hash, "%q ", secret.Reveal()) // never fails
	}
	return fmt.Sprintf("%s|%t|%x|%s|%s|%d", name, create, hash.Sum(nil), cfg.MaxStaleness, cfg.Retention, cfg.CacheBytes)
}
