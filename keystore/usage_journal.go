package keystore

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"runtime"
	"time"

	"go.uber.org/zap"
)

// With many keys in use, nearly every request is the only one of its key in the 4 seconds
// between two writes. Each would cost several rows. So the recorder appends the counters to a
// journal, as one row for many counters. Every few minutes, and before usage is read, the
// journal is folded into the tables: then each key has many requests in its rows.

const (
	foldEvery    = 5 * time.Minute
	journalCells = 1024    // counters in a row of the journal
	foldRows     = 1 << 17 // rows of the tables that one fold adds up in memory, and some more
	foldBatch    = 96      // rows of the tables in one transaction

	// foldPause is the time between two transactions of a fold for which nobody waits, for the
	// requests of a server with one processor. A fold of all rows then takes a minute.
	foldPause = 40 * time.Millisecond

	foldLook    = time.Second      // between two looks at a fold of another process
	foldStalled = 10 * time.Second // without progress, after which this process goes on with the fold
)

// journalUsage appends counters to the journal. The last transaction is durable, and with it
// the transactions before it. If there is an error, journalUsage returns the counters that were
// not written.
func (s *Store) journalUsage(ctx context.Context, taken []takenUsage) (left []takenUsage, err error) {
	for from := 0; from < len(taken); from += journalCells {
		end := min(from+journalCells, len(taken))
		counts := encodeUsage(taken[from:end])
		write := s.writeRelaxed
		if end == len(taken) {
			write = s.write
		}
		unsure, err := s.usage.write(ctx, write, taken[from:end], func(t *txn) error {
			t.exec(`INSERT INTO usage_journal (counts) VALUES ($1)`, counts)
			return t.err
		})
		if err != nil {
			return leftOf(taken, from, end, unsure), err
		}
	}
	return nil, nil
}

// encodeUsage returns a row of the journal: first the kinds, then for each counter the place of
// its kind and the rest. Numbers are varints; texts have their length before them.
func encodeUsage(taken []takenUsage) []byte {
	places := make(map[usageKind]uint64)
	var kinds, cells []byte
	for i := range taken {
		t := &taken[i]
		kind := usageKind{t.of.Operation.String(), t.of.Reason.String(), t.of.Backend}
		place, known := places[kind]
		if !known {
			place = uint64(len(places))
			places[kind] = place
			kinds = appendText(appendText(appendText(kinds, kind.operation), kind.reason), kind.backend)
		}
		cells = binary.AppendUvarint(cells, place)
		cells = appendText(appendText(cells, t.of.AccountID), t.of.KeyID)
		for _, n := range [...]int64{t.hour, t.Requests, t.Refused, t.AudioBytes, t.AudioTime.Milliseconds(), t.StreamTime.Milliseconds()} {
			cells = binary.AppendVarint(cells, n)
		}
	}
	counts := binary.AppendUvarint(nil, uint64(len(places)))
	return append(append(counts, kinds...), cells...)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

var errJournal = errors.New("a row of the usage journal is damaged")

// usageReader reads a row of the journal. After an error, it reads zeros.
type usageReader struct {
	rest []byte
	err  error
}

func (r *usageReader) fail() {
	r.rest, r.err = nil, errJournal
}

func (r *usageReader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *usageReader) varint() int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *usageReader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	text := string(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}

// addJournal adds the counters of a row of the journal. If the row is damaged, it adds none.
func (s usageRows) addJournal(counts []byte) error {
	r := &usageReader{rest: counts}
	var read []usageSum
	var kinds []usageKind
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		kinds = append(kinds, usageKind{r.text(), r.text(), r.text()})
	}
	for len(r.rest) > 0 {
		place := r.uvarint()
		row := usageRow{accountID: r.text(), keyID: r.text(), hour: r.varint()}
		sum := UsageCounts{r.varint(), r.varint(), r.varint(), time.Duration(r.varint()) * time.Millisecond, time.Duration(r.varint()) * time.Millisecond}
		if r.err == nil && place >= uint64(len(kinds)) {
			r.fail()
		}
		if r.err != nil {
			break
		}
		row.kind = kinds[place]
		read = append(read, usageSum{row, sum})
	}
	if r.err != nil {
		return r.err
	}
	for _, one := range read {
		s.add(one.usageRow, one.UsageCounts)
	}
	return nil
}

// foldInBackground folds the journal slowly, and logs an error.
func (s *Store) foldInBackground(ctx context.Context) {
	s.logFold(ctx, s.foldUsage(ctx, foldPause))
}

// foldForReader folds the journal before usage is read, and logs an error: what is in the tables
// can be read all the same.
func (s *Store) foldForReader(ctx context.Context) {
	s.logFold(ctx, s.foldNow(ctx))
}

func (s *Store) logFold(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.Error("folding the journal of the usage failed; it is tried again", zap.Duration("in", foldEvery), zap.Error(err))
	}
}

// foldNow folds the journal without pauses. A fold that runs in the background makes no more
// pauses meanwhile.
func (s *Store) foldNow(ctx context.Context) error {
	s.usage.hurry.Add(1)
	defer s.usage.hurry.Add(-1)
	return s.foldUsage(ctx, 0)
}

// foldUsage folds what the journal has now into the tables. It does this in several
// transactions, with a pause between them, so that the writes of requests do not wait long. The
// table usage_fold has how far it is: the last row of the journal that the fold covers, and how
// many rows of the tables it has written. So another process, or this one after a crash, can go
// on.
func (s *Store) foldUsage(ctx context.Context, pause time.Duration) error {
	s.usage.folding.Lock()
	defer s.usage.folding.Unlock()
	newest, err := query(ctx, s, scanInt, `SELECT COALESCE(MAX(id), 0) FROM usage_journal`)
	if err != nil {
		return err
	}
	for {
		f, err := s.nextFold(ctx)
		if err != nil {
			return err
		}
		if f.upto == 0 || f.first > newest[0] {
			return nil
		}
		err = f.run(ctx, pause)
		if err != nil && !errors.Is(err, errFolded) {
			return err
		}
		if err == nil && f.upto >= newest[0] {
			return nil
		}
	}
}

// pauseFold waits, unless somebody waits for the fold. A pause of 0 says that the caller does.
func (s *Store) pauseFold(ctx context.Context, pause, wait time.Duration) {
	if pause == 0 || s.usage.hurry.Load() > 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func scanInt(row scanner) (n int64, err error) {
	err = row.Scan(&n)
	return n, err
}

// usageFold is a fold of rows of the journal.
type usageFold struct {
	store *Store
	first int64      // the first row of the journal; 0: the journal has no row up to upto
	upto  int64      // the last row of the journal; 0: the journal is empty
	begun bool       // usage_fold has upto
	done  int        // rows of the tables that are written
	rows  []usageSum // in their order, which is the same whenever they are read again

	damaged []int64 // rows of the journal that cannot be read; the fold removes them too
}

// nextFold reads the fold that has begun, or else what the next one covers.
func (s *Store) nextFold(ctx context.Context) (*usageFold, error) {
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	tx, err := db.reader.BeginTx(ctx, snapshot)
	if err != nil {
		return nil, fault(err)
	}
	defer func() { _ = tx.Rollback() }() // it has read only
	f := &usageFold{store: s}
	if err := tx.QueryRowContext(ctx, `SELECT upto, done FROM usage_fold`).Scan(&f.upto, &f.done); err != nil {
		return nil, fault(err)
	}
	f.begun = f.upto > 0
	rows, err := tx.QueryContext(ctx, `SELECT id, counts FROM usage_journal ORDER BY id`)
	if err != nil {
		return nil, fault(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err says more
	sums := make(usageRows)
	for rows.Next() {
		var id int64
		var counts sql.RawBytes
		if err := rows.Scan(&id, &counts); err != nil {
			return nil, fault(err)
		}
		if f.begun && id > f.upto || !f.begun && len(sums) > foldRows {
			break
		}
		if err := sums.addJournal(counts); err != nil {
			f.damaged = append(f.damaged, id)
		}
		if f.first == 0 {
			f.first = id
		}
		if !f.begun {
			f.upto = id
		}
		runtime.Gosched() // there can be hundreds of rows, and requests that need the processor
	}
	f.rows = sums.inOrder()
	return f, fault(rows.Err())
}

// reportDamage logs which rows of the journal the fold has removed without their counts. They must
// not hold up the fold, because the journal would grow without end.
func (f *usageFold) reportDamage() {
	if len(f.damaged) > 0 {
		f.store.log.Error("rows of the usage journal were damaged: their counts are lost", zap.Int64s("rows", f.damaged))
	}
}

// errFolded says that another process has ended the fold, or has gone on with it.
var errFolded = errors.New("another process folds the usage")

// rejoin waits until this process may go on with the fold from where another process is. While the other one goes on,
// a fold in the background leaves the work to it: with many gateways, only one folds. rejoin
// returns errFolded if the fold has ended, or is not what this process has read.
func (f *usageFold) rejoin(ctx context.Context, pause time.Duration) error {
	s := f.store
	for moved, first := s.mono(), true; ; first = false {
		db, err := s.database()
		if err != nil {
			return err
		}
		var upto int64
		var done int
		if err := db.reader.QueryRowContext(ctx, `SELECT upto, done FROM usage_fold`).Scan(&upto, &done); err != nil {
			return fault(err)
		}
		if upto != f.upto || first && done == f.done {
			return errFolded
		}
		if done != f.done {
			moved = s.mono()
		}
		f.begun, f.done = true, done
		if pause == 0 || s.usage.hurry.Load() > 0 || s.mono()-moved > foldStalled {
			return nil
		}
		s.pauseFold(ctx, pause, foldLook)
	}
}

// run writes the rows of the fold that are not written yet, with a pause after each batch, and
// then removes its part of the journal.
func (f *usageFold) run(ctx context.Context, pause time.Duration) error {
	for {
		before, at := int64(0), f.done
		if f.begun {
			before = f.upto
		}
		batch := f.rows[min(at, len(f.rows)):min(at+foldBatch, len(f.rows))]
		last := at+len(batch) >= len(f.rows)
		err := f.store.writeRelaxed(ctx, func(t *txn) error {
			upto, done := f.upto, at+len(batch)
			if last {
				upto, done = 0, 0
			}
			n, err := t.count(`UPDATE usage_fold SET upto = $1, done = $2
				WHERE upto = $3 AND done = $4 AND (SELECT COALESCE(MIN(id), 0) FROM usage_journal WHERE id <= $5) = $6`, upto, done, before, at, f.upto, f.first)
			if err != nil {
				return err
			}
			if n == 0 {
				return errFolded
			}
			if last {
				t.exec(`DELETE FROM usage_journal WHERE id <= $1`, f.upto)
			}
			return t.addUsage(batch)
		})
		if errors.Is(err, errFolded) {
			if err = f.rejoin(ctx, pause); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if last {
			f.reportDamage()
			return nil
		}
		f.begun, f.done = true, at+len(batch)
		f.store.pauseFold(ctx, pause, pause)
	}
}
