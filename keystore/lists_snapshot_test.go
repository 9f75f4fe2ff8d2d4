package keystore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// A page with a filter reads the keys of a window, and then the last place of the window. What others
// write between the two queries makes the list neither skip nor repeat a key.
func TestKeys_AFilteredPageReadsOneState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		newestFirst    bool
		keys, revoked  int // how many keys there are, and which of them is revoked
		pruned, issued int // so many of the oldest keys are pruned, and so many keys are issued
	}{
		{name: "pruned", keys: 30, revoked: 12, pruned: 5},
		{name: "pruned to less than a window", keys: 15, revoked: 12, pruned: 8},
		{name: "issued", newestFirst: true, keys: 12, revoked: 3, issued: 5},
	} {
		for name, place := range map[string]func(*testing.T) string{
			"SQLite":     sqlitePath,
			"PostgreSQL": func(t *testing.T) string { t.Helper(); return postgrestest.Start(t).NewDatabase(t) },
		} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				f := openStore(t, place(t), commandLine, func(c *Config) { c.Retention = 30 * day })
				keys := f.keysInOrder(c.keys)
				for _, key := range keys[:c.pruned] {
					if _, err := f.DeleteKey(t.Context(), start.Add(day), operator, key.ID); err != nil {
						t.Fatal(err)
					}
				}
				later := start.Add(32 * day)
				if _, err := f.RevokeKey(t.Context(), later, operator, keys[c.revoked].ID, ""); err != nil {
					t.Fatal(err)
				}
				meanwhile := func() {
					if err := f.Prune(t.Context(), later); err != nil {
						t.Error(err)
					}
					for range c.issued {
						if _, _, err := f.IssueKey(t.Context(), later, operator, NewKey{AccountID: keys[0].AccountID, Origin: policy.OriginConsole, Expires: policy.Never()}); err != nil {
							t.Error(err)
						}
					}
				}
				called := f.beforeLastPlace(meanwhile)
				list := KeyList{Status: "revoked", NewestFirst: c.newestFirst, Limit: 2, Now: later, windows: keyWindows{keys: 10}}
				var ids []string
				for {
					page, next, err := f.Keys(t.Context(), list)
					if err != nil {
						t.Fatal(err)
					}
					for i := range page {
						ids = append(ids, page[i].ID)
					}
					if list.Cursor = next; next == "" {
						break
					}
				}
				if !called.Load() {
					t.Fatal("no query asked for the last place of a window")
				}
				if !slices.Equal(ids, []string{keys[c.revoked].ID}) {
					t.Errorf("the list has %v, want only %s", ids, keys[c.revoked].ID)
				}
			})
		}
	}
}

// keysInOrder issues keys that never expire, each a millisecond after the one before.
func (f fixture) keysInOrder(n int) (keys []policy.Key) {
	f.t.Helper()
	accountID := f.account().ID
	for i := range n {
		key, _, err := f.IssueKey(f.t.Context(), start.Add(time.Duration(i)*time.Millisecond), operator, NewKey{AccountID: accountID, Origin: policy.OriginConsole, Expires: policy.Never()})
		if err != nil {
			f.t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// beforeLastPlace lets the lists of a store call a function once, before the first query of the last place
// of a window.
func (f fixture) beforeLastPlace(call func()) (called *atomic.Bool) {
	f.t.Helper()
	name, source := "sqlite3", "file:"+f.place+"?mode=ro&_busy_timeout=5000"
	if isPostgres(f.place) {
		name, source = "pgx", f.place
	}
	db, err := sql.Open(name, source)
	if err != nil {
		f.t.Fatal(err)
	}
	called = new(atomic.Bool)
	pool := sql.OpenDB(hookedConnector{db.Driver(), source, func(query string) {
		if strings.Contains(query, " OFFSET ") && called.CompareAndSwap(false, true) {
			call()
		}
	}})
	f.t.Cleanup(func() { _, _ = db.Close(), pool.Close() })
	f.state.Load().db.lists = pool
	return called
}

// hookedConnector makes connections that call a function before each query.
type hookedConnector struct {
	driver driver.Driver
	source string
	before func(query string)
}

// Connect implements [driver.Connector].
func (c hookedConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.source)
	return hookedConn{conn, c.before}, err
}

// Driver implements [driver.Connector].
func (c hookedConnector) Driver() driver.Driver { return c.driver }

type hookedConn struct {
	driver.Conn

	before func(query string)
}

// QueryContext implements [driver.QueryerContext].
func (c hookedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.before(query)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// BeginTx implements [driver.ConnBeginTx].
func (c hookedConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
}

// CheckNamedValue implements [driver.NamedValueChecker].
func (c hookedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}
