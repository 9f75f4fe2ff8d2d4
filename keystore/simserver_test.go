package keystore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// simServer is the database server of a simulation. Its content is a real SQLite database with
// the tables of the keystore, and the statements of the keystore run in it. Its time is scripted:
// when it is up, when a statement runs, who has the lock, and what becomes of notifications.
//
// SQLite runs each statement within one instant of the virtual time.
type simServer struct {
	sim *simulation
	dir string

	lock chan struct{} // has an element while a transaction runs

	mu       sync.Mutex
	path     string      // of the database
	read     driver.Conn // sees what is committed
	write    driver.Conn
	tx       driver.Tx   // of holder
	holder   *simConn    // has the lock; nil if no transaction runs
	idle     *time.Timer // ends the transaction of a silent holder
	memo     map[string]*simRows
	rng      *rand.Rand // for notifications
	lastSeq  int64      // of the feed
	states   []simState // all that were committed, in their order
	hidden   map[int64]time.Time
	copied   int // databases of standbys
	timeline int64
	err      error
}

func newSimServer(sim *simulation, dir string) (*simServer, error) {
	s := &simServer{
		sim: sim, dir: dir, path: filepath.Join(dir, "primary.db"), lock: make(chan struct{}, 1),
		rng: sim.newRand("server"), hidden: make(map[int64]time.Time),
	}
	if err := os.WriteFile(s.path, simContent().file, 0o600); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the file of the database.
func (s *simServer) open() (err error) {
	dsn := "file:" + s.path + "?mode=rw&_journal_mode=WAL&_synchronous=OFF&_foreign_keys=on&_txlock=immediate&_stmt_cache_size=64"
	pool, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }() // only its driver is needed
	if s.read, err = pool.Driver().Open(dsn); err != nil {
		return err
	}
	if s.write, err = pool.Driver().Open(dsn); err != nil {
		return err
	}
	s.memo = make(map[string]*simRows)
	return s.note()
}

// close closes the database, and returns the first error of the script itself.
func (s *simServer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.err, s.read.Close(), s.write.Close())
}

// simTimeline asks how many standbys have taken the server's place.
const simTimeline = `SELECT timeline`

// query runs a query: within the transaction of the connection, or on what is committed.
func (s *simServer) query(c *simConn, query string, args []driver.NamedValue) (*simRows, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == c {
		s.idle.Reset(simIdle)
		return simQuery(s.write, query, args)
	}
	if c.pool == simWriter {
		return nil, errSimCut // the server has ended the transaction
	}
	if query == simTimeline {
		return &simRows{columns: []string{"timeline"}, values: [][]driver.Value{{s.timeline}}}, nil
	}
	key := simStatement(query, args)
	rows := s.memo[key]
	if rows == nil {
		var err error
		if rows, err = simQuery(s.read, query, args); err != nil {
			return nil, err
		}
		s.memo[key] = rows
	}
	answer := *rows // each reader has its own position
	s.leaveOut(&answer, query, args)
	return &answer, nil
}

// simStatement is a text that no other statement with other arguments has.
func simStatement(query string, args []driver.NamedValue) string {
	var b strings.Builder
	b.Grow(len(query) + 64)
	b.WriteString(query)
	for _, a := range args {
		switch v := a.Value.(type) {
		case []byte:
			b.WriteByte(0)
			b.Write(v)
		default:
			fmt.Fprintf(&b, "\x00%v", v)
		}
	}
	return b.String()
}

func simQuery(conn driver.Conn, query string, args []driver.NamedValue) (*simRows, error) {
	rows, err := conn.(driver.QueryerContext).QueryContext(context.Background(), query, args)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	answer := &simRows{columns: rows.Columns()}
	for {
		row := make([]driver.Value, len(answer.columns))
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return answer, nil
		case err != nil:
			return nil, err
		}
		answer.values = append(answer.values, row)
	}
}

// exec runs a statement of a transaction.
func (s *simServer) exec(c *simConn, query string, args []driver.NamedValue) (driver.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder != c {
		return nil, errSimCut // the server has ended the transaction
	}
	s.idle.Reset(simIdle)
	return s.write.(driver.ExecerContext).ExecContext(context.Background(), query, args)
}

// simIdle is how long the server waits for the next statement of a transaction.
const simIdle = 5 * time.Second

// begin begins a transaction, when no other runs.
func (s *simServer) begin(ctx context.Context, c *simConn) error {
	select {
	case s.lock <- struct{}{}:
	case <-time.After(250 * time.Millisecond):
		return errSimBusy
	case <-c.dead:
		return errSimCut
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tx, err := s.write.(driver.ConnBeginTx).BeginTx(context.Background(), driver.TxOptions{}) //nolint:contextcheck // the transaction of the rows is not interrupted
	if err != nil {
		s.fail(err)
		<-s.lock
		return err
	}
	s.holder, s.tx = c, tx
	s.idle = time.AfterFunc(simIdle, func() { s.abort(c) })
	select {
	case <-c.dead:
		s.rollback()
		return errSimCut
	default:
		return nil
	}
}

// commit commits the transaction of a connection. The client may have gone meanwhile.
func (s *simServer) commit(c *simConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder != c {
		return errSimCut
	}
	before := s.lastSeq
	err := s.tx.Commit()
	s.idle.Stop()
	s.holder, s.tx = nil, nil
	<-s.lock
	if err != nil {
		s.fail(err)
		return err
	}
	s.memo = make(map[string]*simRows)
	if err := s.note(); err != nil {
		s.fail(err)
		return err
	}
	if s.lastSeq > before {
		c.gateway.committed(len(s.states) - 1)
		s.sim.note("gateway %d commits change %d, state %d", c.gateway.number, s.lastSeq, len(s.states)-1)
		s.hide(before)
		s.sim.notify(s.rng, len(s.states)-1)
	}
	return nil
}

// abort ends the transaction of a connection, if it has one.
func (s *simServer) abort(c *simConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == c {
		s.rollback()
	}
}

func (s *simServer) rollback() {
	if err := s.tx.Rollback(); err != nil {
		s.fail(err)
	}
	s.idle.Stop()
	s.holder, s.tx = nil, nil
	<-s.lock
}

// fail notes an error of the script itself, which is no part of a simulation.
func (s *simServer) fail(err error) {
	if s.err == nil {
		s.err = fmt.Errorf("the scripted server: %w", err)
	}
}

// copyToStandby copies the database, as it is now, to a standby.
func (s *simServer) copyToStandby() (path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copied++
	path = filepath.Join(s.dir, fmt.Sprintf("standby-%d.db", s.copied))
	_, err := s.read.(driver.ExecerContext).ExecContext(context.Background(), `VACUUM INTO $1`, []driver.NamedValue{{Ordinal: 1, Value: path}})
	if err != nil {
		s.fail(err)
	}
	return path
}

// stop breaks all connections. With the path of a standby, the standby takes the server's place: what
// was committed later than the copy was made is lost.
func (s *simServer) stop(standby string) {
	s.sim.killAll()
	if standby == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder != nil {
		s.rollback()
	}
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		s.fail(err)
	}
	s.path, s.lastSeq = standby, -1
	s.timeline++
	if err := s.open(); err != nil {
		s.fail(err)
	}
	s.sim.note("a standby takes over with change %d, state %d", s.lastSeq, len(s.states)-1)
}

// hide is a defect that the lock of transactions prevents: a change with a lower number than another
// one is committed later.
func (s *simServer) hide(before int64) {
	if s.sim.unordered && s.rng.IntN(3) == 0 {
		for seq := before + 1; seq <= s.lastSeq; seq++ {
			s.hidden[seq] = time.Now().Add(time.Duration(s.rng.IntN(400)) * time.Millisecond)
		}
	}
}

// leaveOut takes the hidden changes out of an answer of the change feed.
func (s *simServer) leaveOut(answer *simRows, query string, args []driver.NamedValue) {
	hidden := func(seq int64) bool { return s.hidden[seq].After(time.Now()) }
	switch {
	case len(s.hidden) == 0:
	case strings.Contains(query, "FROM feed WHERE seq > $1"):
		seq := args[0].Value.(int64)
		answer.values = slices.DeleteFunc(slices.Clone(answer.values), func([]driver.Value) bool {
			seq++
			return hidden(seq)
		})
	case strings.Contains(query, "feed_pruned"):
		at := slices.IndexFunc(answer.columns, func(name string) bool { return strings.Contains(name, "MAX(seq)") })
		row := slices.Clone(answer.values[0])
		last := row[at].(int64)
		for hidden(last) {
			last--
		}
		row[at] = last
		answer.values = [][]driver.Value{row}
	}
}
