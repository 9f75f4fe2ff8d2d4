package app

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore"
)

const (
	auditEvery = time.Second          // between two looks for new entries of the audit trail
	auditPause = 4 * time.Millisecond // between two batches, for the requests of a server with one processor
	auditBatch = 100                  // how many entries are logged at a time; it takes about a millisecond
)

// auditLog logs the entries of one keystore's audit trail as they come, also those of other
// processes. All configurations with the keystore share it, so that each entry is logged once.
type auditLog struct {
	mu     sync.Mutex
	begun  bool
	logged int64 // the number of the last entry that was logged
}

// auditLogs has the auditLog of each keystore, by the name of its place.
type auditLogs struct {
	mu     sync.Mutex
	byName map[string]*auditLog
}

func (l *auditLogs) of(name string) *auditLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byName == nil {
		l.byName = make(map[string]*auditLog)
	}
	if l.byName[name] == nil {
		l.byName[name] = new(auditLog)
	}
	return l.byName[name]
}

// begin makes the log begin behind the last entry, if no configuration has begun it. After an error, next does
// it: a server can start while the database is away.
func (l *auditLog) begin(ctx context.Context, store *keystore.Store) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lockedBegin(ctx, store)
}

func (l *auditLog) lockedBegin(ctx context.Context, store *keystore.Store) (err error) {
	if l.begun {
		return nil
	}
	l.logged, err = store.LastAudit(ctx)
	l.begun = err == nil
	return err
}

// next logs the first entries that came since the last call, and reports whether there are more.
// If the trail cannot be read, a later call logs them: the keystore says in its own log why.
func (l *auditLog) next(ctx context.Context, store *keystore.Store, logger *zap.Logger) (more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lockedBegin(ctx, store) != nil {
		return false
	}
	last, err := store.LastAudit(ctx)
	if err != nil {
		return false
	}
	l.logged = min(l.logged, last) // a restore can have put a shorter trail in place
	if l.logged == last {
		return false
	}
	entries, err := store.AuditAfter(ctx, l.logged, auditBatch)
	if err != nil || len(entries) == 0 {
		return false
	}
	for i := range entries {
		logger.Info("audit", auditFields(&entries[i])...)
	}
	l.logged = entries[len(entries)-1].Seq
	return l.logged < last
}

// auditFields returns the fields of an entry for the log. They have the names of the command audit.
func auditFields(e *keystore.AuditEntry) []zap.Field {
	address := ""
	if e.Actor.From.IsValid() {
		address = e.Actor.From.String()
	}
	return []zap.Field{
		zap.Int64("seq", e.Seq),
		zap.Stringer("at", e.At),
		zap.String("actor_kind", e.Actor.Kind),
		zap.String("actor_id", e.Actor.ID),
		zap.String("actor_ip", address),
		zap.String("action", e.Action),
		zap.String("account_id", e.AccountID),
		zap.String("subject", e.Subject),
		zap.String("detail", e.Detail),
	}
}

// followAudit logs the audit trail until the configuration is unloaded.
func (a *App) followAudit(ctx context.Context) {
	timer := time.NewTimer(auditEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := auditEvery
		if a.logAudit(ctx) {
			wait = auditPause
		}
		timer.Reset(wait)
	}
}

// logAudit logs some entries of the audit trail that are not logged yet, and reports whether there
// are more.
func (a *App) logAudit(ctx context.Context) (more bool) {
	a.store.acquire()
	defer a.store.release()
	store := a.store.open.Load()
	return store != nil && a.process.audits.of(a.store.name).next(ctx, store, a.logger.Named("audit"))
}
