package keystore

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"go.uber.org/zap"
)

// replicaNews are changes that this process has applied to its cache, and the file may not have yet. What they
// concern is not read from the file: this process would answer by an older record than before. The file has their names
// in its table news, for the process after this one.
type replicaNews struct {
	mu                sync.Mutex
	number            int64                      // of the last call of add
	version           int64                      // grows with each change of what is here
	forgotten         int64                      // grows when something is forgotten
	digests           map[digest]replicaNewsNote // of keys, jobs and tokens
	accounts, issuers map[string]replicaNewsNote
	all               replicaNewsNote // the number of the last change of any record; 0 if no such change has come
}

type replicaNewsNote int64

// maxReplicaNews is how many changes are kept apart. Beyond it, no record is read from the file.
const maxReplicaNews = 10_000

// add notes changes, and returns their number. No changes are a change of all records.
func (n *replicaNews) add(changes []change) replicaNewsNote {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.number++
	n.version++
	note := replicaNewsNote(n.number)
	if n.digests == nil {
		n.digests, n.accounts, n.issuers = make(map[digest]replicaNewsNote), make(map[string]replicaNewsNote), make(map[string]replicaNewsNote)
	}
	if len(changes) == 0 || len(n.digests)+len(n.accounts)+len(n.issuers)+len(changes) > maxReplicaNews {
		n.all = note
		return note
	}
	for _, c := range changes {
		switch {
		case (c.kind == changedKey || c.kind == changedJob || c.kind == changedToken) && len(c.ref) == len(digest{}):
			n.digests[digest(c.ref)] = note
		case c.kind == changedAccount:
			n.accounts[string(c.ref)] = note
		case c.kind == changedChildren:
			n.issuers[string(c.ref)] = note
		case c.kind == changedNewKeys, c.kind == changedNewAccount:
		default:
			n.all = note
		}
	}
	return note
}

// last returns the number of the last call of add.
func (n *replicaNews) last() replicaNewsNote {
	n.mu.Lock()
	defer n.mu.Unlock()
	return replicaNewsNote(n.number)
}

// forget forgets the changes that the file has: those with numbers up to last, and those with the number noted.
func (n *replicaNews) forget(last, noted replicaNewsNote) {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := len(n.digests) + len(n.accounts) + len(n.issuers)
	forgets := n.all != 0 && (n.all <= last || n.all == noted)
	if forgets {
		n.all = 0
	}
	forget(n.digests, last, noted)
	forget(n.accounts, last, noted)
	forget(n.issuers, last, noted)
	if forgets || len(n.digests)+len(n.accounts)+len(n.issuers) < count {
		n.version++
		n.forgotten++
	}
}

func forget[K comparable](notes map[K]replicaNewsNote, last, noted replicaNewsNote) {
	for k, note := range notes {
		if note <= last || note == noted {
			delete(notes, k)
		}
	}
}

// after returns changes that stand for the news after a number, and the version of the news. A change of kind
// changedStore stands for all records.
func (n *replicaNews) after(last replicaNewsNote) (changes []change, version int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all > last {
		return []change{{kind: changedStore}}, n.version
	}
	for d, note := range n.digests {
		if note > last {
			changes = append(changes, change{kind: changedKey, ref: d[:]}) // or a job, or a token
		}
	}
	for id, note := range n.accounts {
		if note > last {
			changes = append(changes, change{kind: changedAccount, ref: []byte(id)})
		}
	}
	for id, note := range n.issuers {
		if note > last {
			changes = append(changes, change{kind: changedChildren, ref: []byte(id)})
		}
	}
	return changes, n.version
}

// generation returns a number that grows when something is forgotten. What was read from the file before can then be
// older than what was forgotten.
func (n *replicaNews) generation() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.forgotten
}

// concern reports whether a record has changed.
func (n *replicaNews) concern(d digest, r *Record) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all != 0 || n.digests[d] != 0 {
		return true
	}
	if !r.Found() {
		return false
	}
	_, account := r.IDs()
	return n.accounts[account] != 0 || n.issuers[r.issuerID()] != 0
}

// concernsAll reports whether any record can have changed.
func (n *replicaNews) concernsAll() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all != 0
}

// readNews notes the news that the file has: those of the process before.
func (r *replica) readNews(ctx context.Context, tx *sql.Tx) error {
	changes, err := readReplicaNews(ctx, tx)
	if err == nil && len(changes) > 0 {
		r.news.add(changes)
	}
	r.noted = 0
	return err
}

func readReplicaNews(ctx context.Context, q querier) ([]change, error) {
	return queryRows(ctx, q, func(row scanner) (c change, err error) {
		return c, row.Scan(&c.kind, &c.ref)
	}, `SELECT kind, ref FROM news`)
}

// writeNews writes the news that the tables of the file, at a position, do not have. It returns their version.
func (r *replica) writeNews(ctx context.Context, tx *sql.Tx, at *replicaPosition) (version int64, err error) {
	changes, version := r.news.after(at.news)
	if version == r.noted {
		return version, nil
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM news`); err != nil {
		return version, err
	}
	rows := make([]rawRow, len(changes))
	for i, c := range changes {
		rows[i] = rawRow{c.kind, notNil(c.ref)}
	}
	return version, insertRaw(ctx, tx, `INSERT INTO news (kind, ref) VALUES `, rows)
}

// noteOwnLimit is how long a write waits until the file names what it has changed.
const noteOwnLimit = time.Second

// noteOwn writes into the file what a write of this process has changed, before its caller hears of the result. If the
// process is killed then, the one after it does not read from the file what was changed.
func (r *replica) noteOwn(ctx context.Context, changes []change) {
	if r == nil {
		return
	}
	var rows []rawRow
	for _, c := range changes {
		switch {
		case changesAll(c.kind):
			rows = append(rows, rawRow{changedStore, []byte{}})
		case c.kind == changedKey, c.kind == changedAccount, c.kind == changedChildren:
			rows = append(rows, rawRow{c.kind, c.ref})
		}
	}
	file := r.file.Load()
	if file == nil || len(rows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteOwnLimit)
	defer cancel()
	tx, err := file.Begin(ctx, true)
	if err == nil {
		defer func() { _ = tx.Rollback() }() // does nothing after the commit
		err = insertRaw(ctx, tx, `INSERT OR IGNORE INTO news (kind, ref) VALUES `, rows)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		r.store.log.Error("the replica does not name yet what was changed here: if this gateway is killed now and starts while the database is away, it does not know the change",
			zap.Int("changes", len(rows)), zap.Error(file.Advise(err)))
	}
	r.news.mu.Lock()
	defer r.news.mu.Unlock()
	r.news.version++ // the table has more than was noted there
}

// pending reports whether there are news that the file does not name yet.
func (r *replica) pending() bool {
	r.news.mu.Lock()
	defer r.news.mu.Unlock()
	return r.news.version != r.noted
}
