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

// History remembers in Caddy's storage which keystores a server has had, so that
// a path that is wrong, or a disk that is not mounted, is not taken for a first
// run. It holds no secrets. There is one entry for each path, as JSON, under
// speechgate/keystores in the storage.
//
// Servers that share a storage share the history.
type History struct {
	Storage certmagic.Storage // nil remembers nothing
	Logger  *zap.Logger
}

// Remembered is a keystore that a server had.
type Remembered struct {
	StoreID string    `json:"store_id"`
	Path    string    `json:"path"`
	Host    string    `json:"host,omitempty"` // whose server opened it last
	Opened  time.Time `json:"opened"`         // for the last time
}

func (r Remembered) String() string {
	text := fmt.Sprintf("keystore %s at %s, opened on %s", r.StoreID, r.Path, r.Opened.UTC().Format(time.RFC3339))
	if host, err := os.Hostname(); r.Host != "" && (err != nil || host != r.Host) {
		text += " by host " + r.Host
	}
	return text
}

const (
	historyPrefix = "speechgate/keystores"
	historyLimit  = 10 * time.Second // for all that is asked of the storage at a time
)

func historyKey(file string) string {
	sum := sha256.Sum256([]byte(file))
	return path.Join(historyPrefix, hex.EncodeToString(sum[:8])+".json")
}

// Recall returns what is remembered of the keystore at this path, or else of the
// one that was opened last; nil if there is none. What cannot be read is logged,
// and counts as forgotten: the storage must not keep the gateway from starting.
func (h History) Recall(ctx context.Context, file string) *Remembered {
	all := h.list(ctx)
	var last *Remembered
	for i := range all {
		if all[i].Path == file {
			return &all[i]
		}
		if last == nil || all[i].Opened.After(last.Opened) {
			last = &all[i]
		}
	}
	return last
}

func (h History) list(ctx context.Context) (all []Remembered) {
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
		var r Remembered
		text, err := h.Storage.Load(ctx, key)
		if err == nil {
			err = json.Unmarshal(text, &r)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // another process has just removed it
		case err != nil:
			h.warn("an entry of Caddy's storage about a keystore cannot be read", err, zap.String("entry", key))
		case r.StoreID != "" && r.Path != "":
			all = append(all, r)
		}
	}
	return all
}

// Remember writes down that this server has the keystore at this path now.
func (h History) Remember(ctx context.Context, storeID, file string, at time.Time) {
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
	text, err := json.Marshal(Remembered{StoreID: storeID, Path: file, Host: host, Opened: at.UTC().Truncate(time.Second)})
	if err == nil {
		err = h.Storage.Store(ctx, historyKey(file), text)
	}
	if err != nil {
		h.warn("Caddy's storage cannot be written, so that it will not be known that this server had this keystore", err, zap.String("store_id", storeID))
		return
	}
	for _, r := range before {
		if r.StoreID == storeID && r.Path != file && r.Host == host { // it was moved
			if err := h.Storage.Delete(ctx, historyKey(r.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				h.warn("an entry of Caddy's storage about a keystore cannot be removed", err, zap.String("path", r.Path))
			}
		}
	}
}

func (h History) warn(message string, err error, fields ...zap.Field) {
	h.Logger.Warn(message, append(fields, zap.Error(err))...)
}

// noteOpened remembers the keystore that is open, and warns if it is another
// than before: then none of that one's keys is known.
func (h History) noteOpened(ctx context.Context, sum keystore.Summary, file string) {
	before := h.Recall(ctx, file)
	if before != nil && before.StoreID != sum.ID {
		h.Logger.Warn("this is another keystore than this server had before, whose keys are not known here",
			zap.String("store_id", sum.ID), zap.String("path", file),
			zap.String("store_id_before", before.StoreID), zap.String("path_before", before.Path))
	}
	h.Remember(ctx, sum.ID, file, time.Now())
}

// missing explains the error of a keystore that is not there, if the configuration
// says must_exist or the one before is known.
func missing(err error, before *Remembered, mustExist bool) error {
	switch {
	case !errors.Is(err, keystore.ErrNoStore):
		return err
	case mustExist && before == nil:
		return fmt.Errorf("%w, and the configuration says must_exist: correct the path, mount the disk or restore a backup, or make a new, empty keystore with %q", err, Program+" init --config <file>")
	case mustExist:
		return fmt.Errorf("%w, and the configuration says must_exist; this server had one before, %s: correct the path, mount the disk or restore a backup, or make a new, empty keystore with %q", err, before, Program+" init --config <file>")
	case before == nil:
		return err
	}
	return fmt.Errorf("%w; this server had one before, %s: correct the path, mount the disk or restore a backup; if a new, empty keystore is meant, make it with %q, or write create in a block behind the path of the keystore option",
		err, before, Program+" init --config <file>")
}
