package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore"
)

// History is the list of the keystores that a server has had. It is in Caddy's storage, so
// that a server with a wrong path, or with a disk that is not mounted, is not treated as a
// new server. It contains no secrets. Each path, or URL of a PostgreSQL database, has an entry, as JSON, under
// speechgate/keystores in the storage.
//
// Servers that share a storage share the history.
type History struct {
	Storage certmagic.Storage // if nil, the history is empty
	Logger  *zap.Logger
}

// HistoryEntry is a keystore that a server had.
type HistoryEntry struct {
	StoreID string    `json:"store_id"`
	Path    string    `json:"path"`           // or the URL of a PostgreSQL database
	Host    string    `json:"host,omitempty"` // of the server that opened the keystore last
	Opened  time.Time `json:"opened"`         // when the keystore was opened last
}

// String describes the keystore for an error message.
func (e HistoryEntry) String() string {
	text := fmt.Sprintf("keystore %s at %s, opened on %s", e.StoreID, e.Path, e.Opened.UTC().Format(time.RFC3339))
	if host, err := os.Hostname(); e.Host != "" && (err != nil || host != e.Host) {
		text += " by host " + e.Host
	}
	return text
}

const (
	historyPrefix = "speechgate/keystores"
	historyLimit  = 10 * time.Second // for one method of History
)

func historyKey(place string) string {
	sum := sha256.Sum256([]byte(place))
	return path.Join(historyPrefix, hex.EncodeToString(sum[:8])+".json")
}

// Previous returns the entry of the keystore at this place, which is what [keystore.Config.Name]
// returns. If the history has no such entry, it
// returns the entry of the keystore that was opened last; nil if the history is empty. An entry
// that cannot be read is logged and skipped, because an error of the storage must not keep the
// gateway from starting.
func (h History) Previous(ctx context.Context, place string) *HistoryEntry {
	all := h.list(ctx)
	var last *HistoryEntry
	for i := range all {
		if all[i].Path == place {
			return &all[i]
		}
		if last == nil || all[i].Opened.After(last.Opened) {
			last = &all[i]
		}
	}
	return last
}

func (h History) list(ctx context.Context) (all []HistoryEntry) {
	if h.Storage == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, historyLimit)
	defer cancel()
	keys, err := h.Storage.List(ctx, historyPrefix, false)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.warn("Caddy's storage cannot be read, so that it is not known which keystore this server had before", err)
		}
		return nil
	}
	for _, key := range keys {
		var entry HistoryEntry
		text, err := h.Storage.Load(ctx, key)
		if err == nil {
			err = json.Unmarshal(text, &entry)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // another process has just removed it
		case err != nil:
			h.warn("an entry of Caddy's storage about a keystore cannot be read", err, zap.String("entry", key))
		case entry.StoreID != "" && entry.Path != "":
			all = append(all, entry)
		}
	}
	return all
}

// Record writes the entry of the keystore that this server has now. If this host has an entry for
// the same keystore at another place, the keystore was moved, and Record removes that entry. An error of
// the storage is logged.
func (h History) Record(ctx context.Context, storeID, place string, at time.Time) {
	if h.Storage == nil {
		return
	}
	before := h.list(ctx)
	ctx, cancel := context.WithTimeout(ctx, historyLimit)
	defer cancel()
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	text, err := json.Marshal(HistoryEntry{StoreID: storeID, Path: place, Host: host, Opened: at.UTC().Truncate(time.Second)})
	if err == nil {
		err = h.Storage.Store(ctx, historyKey(place), text)
	}
	if err != nil {
		h.warn("Caddy's storage cannot be written, so that it will not be known that this server had this keystore", err, zap.String("store_id", storeID))
		return
	}
	for _, entry := range before {
		if entry.StoreID == storeID && entry.Path != place && entry.Host == host { // the keystore was moved
			if err := h.Storage.Delete(ctx, historyKey(entry.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				h.warn("an entry of Caddy's storage about a keystore cannot be removed", err, zap.String("path", entry.Path))
			}
		}
	}
}

func (h History) warn(message string, err error, fields ...zap.Field) {
	h.Logger.Warn(message, append(fields, zap.Error(err))...)
}

// recordOpened records the keystore that has been opened. It logs a warning if the server had
// another keystore before, whose keys are unknown now.
func (h History) recordOpened(ctx context.Context, storeID, place string) {
	before := h.Previous(ctx, place)
	if before != nil && before.StoreID != storeID {
		h.Logger.Warn("this is another keystore than this server had before, whose keys are not known here",
			zap.String("store_id", storeID), zap.String("path", place),
			zap.String("store_id_before", before.StoreID), zap.String("path_before", before.Path))
	}
	h.Record(ctx, storeID, place, time.Now())
}

// Remedy returns what to do about a keystore that is missing at a place which may be wrong.
func Remedy(cfg *keystore.Config) string {
	if cfg.Postgres != nil {
		return "correct the connection string, or restore a backup"
	}
	return "correct the path, mount the disk or restore a backup"
}

// explainMissing adds to an error about a missing keystore what the operator can do, if the
// configuration says must_exist or the server had a keystore before. It returns every other error
// unchanged.
func explainMissing(err error, before *HistoryEntry, cfg *keystore.Config) error {
	switch {
	case !errors.Is(err, keystore.ErrNoStore):
		return err
	case cfg.MustExist && before == nil:
		return fmt.Errorf("%w, and the configuration says must_exist: %s, or make a new, empty keystore with %q", err, Remedy(cfg), Program+" init --config <file>")
	case cfg.MustExist:
		return fmt.Errorf("%w, and the configuration says must_exist; this server had one before, %s: %s, or make a new, empty keystore with %q", err, before, Remedy(cfg), Program+" init --config <file>")
	case before == nil:
		return err
	}
	return fmt.Errorf("%w; this server had one before, %s: %s; if a new, empty keystore is meant, make it with %q, or write create in a block of the keystore option",
		err, before, Remedy(cfg), Program+" init --config <file>")
}
