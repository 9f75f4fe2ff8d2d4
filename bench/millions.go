//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// millionsCase is the name of the case with many more stored keys than keys in use.
const millionsCase = "ten-million"

const (
	storedTimes  = 100       // times the keys in use that the database has
	storedOthers = 1_000     // accounts beside the large one
	listWindows  = 50        // parts of a list before the one that is measured as its middle
	listTarget   = 50        // ms
	listSearch   = "floor 3" // in the middle of each hundredth label
	listMissed   = "nothing" // in no label, and no part of it is
	listFrequent = "al 0123" // in few labels, although most labels have some of its parts
)

// millions measures what many stored keys in PostgreSQL cost: a start, the memory of a gateway, and
// lists. The first figures of a start and of the memory are those of the same database before it had so
// many keys. The PostgreSQL server is on no core of its own.
func (s *suite) millions() error {
	f, inPostgres, err := s.inPostgres()
	if err != nil {
		return err
	}
	few, err := s.startsOf(inPostgres, f)
	if err != nil {
		return err
	}
	stored := storedTimes * s.keys
	s.progress("storing %d keys", stored)
	if err := s.storeKeys(f, stored); err != nil {
		return err
	}
	many, err := s.startsOf(inPostgres, f)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d keys in PostgreSQL", stored)
	for _, m := range []measure{
		{name: "first answer", unit: "s", target: 1, absolute: true},
		{name: "memory", unit: fmt.Sprintf("MiB, %d keys in use", len(f.keys)), target: 1.05},
	} {
		var before, after []float64
		for i := range few {
			before, after = append(before, few[i][m.name]), append(after, many[i][m.name])
		}
		one, other := median(before), median(after)
		s.rows = append(s.rows, row{
			Case: name, Measure: m.name, Unit: m.unit, Plain: one, Gate: other, Ratio: other / one, Low: other / one, High: other / one,
			Pairs: len(few), Target: m.target, AtMost: true, Absolute: m.absolute,
		})
	}
	return s.listKeys(name, f)
}

// startsOf starts a gateway some times, and measures when it answers and what memory it has when all
// keys in use were looked up.
func (s *suite) startsOf(site site, f *fixture) (all []sample, err error) {
	for range max(1, s.pairs/8) {
		begun := time.Now()
		p, err := s.start(site, s.loop.addr)
		if err != nil {
			return nil, err
		}
		if err := s.untilOpen(p); err != nil {
			return nil, err
		}
		if _, err := s.play(p, plan{conns: 1, next: f.poll, classes: []class{answered}, length: time.Nanosecond}); err != nil {
			return nil, err
		}
		took := time.Since(begun)
		if err := s.warm(p, f); err != nil {
			return nil, err
		}
		held, err := p.memory("VmRSS")
		if err != nil {
			return nil, err
		}
		p.stop()
		all = append(all, sample{"first answer": took.Seconds(), "memory": held})
	}
	return all, nil
}

// The statements that store accounts and keys. $1 is their number, $2 the ID of the large account, and
// $3 the time. Ends and uses are spread over a year; a few keys are revoked or suspended. The digests
// are those of no secret.
const (
	storeAccounts = `INSERT INTO accounts (id, name, service_id, spw_digest, created_at)
		SELECT 'acc_bench' || lpad(n::TEXT, 6, '0'), 'Customer ' || n, 'svc_bench' || n, sha256(('account' || n)::BYTEA), $2::BIGINT - 34560000000 + n
		FROM generate_series(0, $1::BIGINT - 1) AS n`
	storeKeys = `INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, created_at, expires_at, revoked_at, revoked_reason, suspended_at)
		SELECT 'key_' || substr(md5(n::TEXT), 1, 20), CASE WHEN n % 10 = 0 THEN 'acc_bench' || lpad((n / 10 % $4::BIGINT)::TEXT, 6, '0') ELSE $2::TEXT END,
			sha256(('key' || n)::BYTEA), 'sgk_1234', CASE WHEN n % 5 = 0 THEN 'api' WHEN n % 100 = 1 THEN 'initial' ELSE 'console' END,
			'Terminal ' || lpad((n * 7919 % 1000003)::TEXT, 7, '0') || ', floor ' || n % 100, '[]', FALSE,
			$3::BIGINT - 34560000000 + 34560000000 * n / $1::BIGINT, CASE WHEN n % 3 = 1 THEN $3::BIGINT + (n * 7919 % 1000003 - 100000) * 34560 END,
			CASE WHEN n % 50000 = 7 THEN $3::BIGINT END, CASE WHEN n % 50000 = 7 THEN 'lost' END, CASE WHEN n % 70001 = 9 THEN $3::BIGINT END
		FROM generate_series(1, $1::BIGINT) AS n`
	storeUses = `INSERT INTO last_uses (digest, at)
		SELECT sha256(('key' || n)::BYTEA), $2::BIGINT - 34560000000 * n / $1::BIGINT FROM generate_series(10, $1::BIGINT, 10) AS n`
)

// searchIndex makes the index for searches, as docs/clustering.md does.
const searchIndex = `CREATE INDEX IF NOT EXISTS api_keys_search ON api_keys USING gin (lower(label) gin_trgm_ops)
	WITH (gin_pending_list_limit = 512) WHERE label <> ''`

// storeKeys stores further keys in the database, up to a number. Their indexes are made afterwards,
// which is faster.
func (s *suite) storeKeys(f *fixture, stored int) error {
	db, err := pgx.Connect(s.ctx, s.postgres)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(s.ctx)) }()
	rows, err := db.Query(s.ctx, `SELECT indexname, indexdef FROM pg_indexes i WHERE tablename = 'api_keys' AND schemaname = current_schema()
		AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conname = i.indexname)`)
	if err != nil {
		return err
	}
	type index struct{ Name, Def string }
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[index])
	if err != nil {
		return err
	}
	at := int64(now())
	type statement struct {
		text string
		args []any
	}
	var statements []statement
	for _, i := range indexes {
		statements = append(statements, statement{"DROP INDEX " + pgx.Identifier{i.Name}.Sanitize(), nil})
	}
	more := max(0, stored-len(f.keys)-len(f.victims))
	statements = append(statements,
		statement{storeAccounts, []any{storedOthers, at}},
		statement{storeKeys, []any{more, f.account, at, storedOthers}},
		statement{storeUses, []any{more, at}})
	for _, i := range indexes {
		statements = append(statements, statement{i.Def, nil})
	}
	statements = append(statements,
		statement{"CREATE EXTENSION IF NOT EXISTS pg_trgm", nil},
		statement{searchIndex, nil},
		statement{"VACUUM ANALYZE", nil})
	for i, todo := range statements {
		s.progress("storing %d keys: statement %d of %d", stored, i+1, len(statements))
		if _, err := db.Exec(s.ctx, todo.text, todo.args...); err != nil {
			return err
		}
	}
	return nil
}

// timedList is a list that is measured.
type timedList struct {
	name   string
	target float64 // ms; 0: none
	read   func(ctx context.Context, store *keystore.Store) error
}

// listKeys measures lists: one page of each, as the console shows it, and searches of the command line.
func (s *suite) listKeys(name string, f *fixture) error {
	store, err := keystore.Open(s.ctx, s.postgresConfig())
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	lists, err := s.timedLists(store, f)
	if err != nil {
		return err
	}
	var slowest row
	for i, list := range lists {
		var times []float64
		for n := range 1 + max(3, s.pairs/4) {
			s.progress("%s: list %d of %d", name, i+1, len(lists))
			begun := time.Now()
			if err := list.read(s.ctx, store); err != nil {
				return fmt.Errorf("%s: %w", list.name, err)
			}
			if n > 0 { // the first one fills the caches of the database
				times = append(times, float64(time.Since(begun).Microseconds())/1000)
			}
		}
		r := row{Case: name, Measure: list.name, Unit: "ms", Gate: median(times), Pairs: len(times), Target: list.target, AtMost: true, Absolute: true}
		s.rows = append(s.rows, r)
		if list.target > 0 && r.Gate > slowest.Gate {
			slowest = r
		}
	}
	slowest.Measure = "the slowest list: " + slowest.Measure
	s.rows = append(s.rows, slowest)
	return nil
}

// timedLists returns the lists that are measured.
func (s *suite) timedLists(store *keystore.Store, f *fixture) (lists []timedList, err error) {
	at := now()
	accounts := []struct{ name, id string }{{"all accounts", ""}, {"the large account", f.account}, {"a small account", "acc_bench000007"}}
	for _, list := range []struct {
		name string
		keystore.KeyList
	}{
		{"issued", keystore.KeyList{}},
		{"issued, newest first", keystore.KeyList{NewestFirst: true}},
		{"issued, active", keystore.KeyList{Bounded: true, Status: "active", NewestFirst: true}},
		{"issued, revoked", keystore.KeyList{Bounded: true, Status: "revoked", NewestFirst: true}},
		{"issued, suspended", keystore.KeyList{Bounded: true, Status: "suspended", NewestFirst: true}},
		{"issued, deleted", keystore.KeyList{Bounded: true, Status: "deleted", NewestFirst: true}},
		{"issued, unused for 90 days", keystore.KeyList{Bounded: true, UnusedSince: at.Add(-90 * 24 * time.Hour), NewestFirst: true}},
		{"label", keystore.KeyList{Order: keystore.OrderLabel}},
		{"label, revoked", keystore.KeyList{Order: keystore.OrderLabel, Status: "revoked"}},
		{"end", keystore.KeyList{Order: keystore.OrderEnd}},
		{"end, active", keystore.KeyList{Order: keystore.OrderEnd, Status: "active"}},
		{"end, suspended", keystore.KeyList{Order: keystore.OrderEnd, Status: "suspended"}},
		{"last use", keystore.KeyList{Order: keystore.OrderUse, NewestFirst: true}},
		{"last use, expired", keystore.KeyList{Order: keystore.OrderUse, Status: "expired"}},
		{"search, beginning of a label", keystore.KeyList{Bounded: true, Search: "terminal 09"}},
		{"search, middle of a label", keystore.KeyList{Bounded: true, Search: listSearch}},
		{"search, nothing found", keystore.KeyList{Bounded: true, Search: listMissed}},
		{"search, few found, frequent parts", keystore.KeyList{Bounded: true, Search: listFrequent}},
		{"search, beginning of an ID", keystore.KeyList{Bounded: true, Search: "key_9"}},
	} {
		for _, account := range accounts {
			l := list.KeyList
			l.AccountID, l.Now, l.Limit = account.id, at, pageRows
			lists = append(lists, keyPage(list.name+", "+account.name, l))
			if account.name != accounts[1].name || list.Status != "" || list.Search != "" {
				continue
			}
			l.Bounded = true // whose cursors are those of middleOf
			if l.Cursor, err = s.middleOf(store, l); err != nil {
				return nil, err
			}
			lists = append(lists, keyPage(list.name+", "+account.name+", middle", l))
		}
	}
	for _, account := range accounts[:2] {
		for _, search := range []struct {
			text   string
			target float64
		}{{listSearch, listTarget}, {listMissed, listTarget}, {listFrequent, 0}} {
			l := keystore.KeyList{AccountID: account.id, Search: search.text, Now: at, Limit: pageRows}
			lists = append(lists, keyCommand(fmt.Sprintf("search of a command, %q, %s", search.text, account.name), search.target, l))
		}
	}
	for _, account := range accounts {
		lists = append(lists,
			timedList{"forecast of 30 days, " + account.name, listTarget, func(ctx context.Context, store *keystore.Store) error {
				_, _, err := store.EndingKeys(ctx, keystore.EndingList{AccountID: account.id, After: at, By: at.Add(30 * 24 * time.Hour), Limit: pageRows})
				return err
			}},
			timedList{"jobs, newest first, " + account.name, listTarget, func(ctx context.Context, store *keystore.Store) error {
				_, _, err := store.Jobs(ctx, keystore.JobList{AccountID: account.id, NewestFirst: true, Limit: pageRows})
				return err
			}})
	}
	for _, search := range []string{"", "customer 9"} {
		lists = append(lists, timedList{fmt.Sprintf("accounts, search %q", search), listTarget, func(ctx context.Context, store *keystore.Store) error {
			_, _, err := store.Accounts(ctx, keystore.AccountList{Search: search, NewestFirst: true, Limit: pageRows})
			return err
		}})
	}
	return lists, nil
}

func keyPage(name string, list keystore.KeyList) timedList {
	return timedList{name, listTarget, func(ctx context.Context, store *keystore.Store) error {
		_, _, err := store.Keys(ctx, list)
		return err
	}}
}

// keyCommand reads parts of a list until it has its limit, as the command line does.
func keyCommand(name string, target float64, list keystore.KeyList) timedList {
	return timedList{name, target, func(ctx context.Context, store *keystore.Store) error {
		for part := list; ; {
			keys, next, err := store.Keys(ctx, part)
			if err != nil || next == "" || len(keys) == part.Limit {
				return err
			}
			part.Limit, part.Cursor = part.Limit-len(keys), next
		}
	}}
}

// middleOf returns a cursor far from the beginning of a list.
func (s *suite) middleOf(store *keystore.Store, list keystore.KeyList) (cursor string, err error) {
	// Nothing matches the filter, so that each page is a long part of the list.
	list.Status, list.Bounded, list.ExpiresBy, list.UnusedSince = "deleted", true, policy.Time(0), policy.Time(0)
	for i := range listWindows {
		s.progress("the middle of a list: part %d of %d", i, listWindows)
		_, next, err := store.Keys(s.ctx, list)
		if err != nil {
			return "", err
		}
		if next == "" {
			break
		}
		list.Cursor = next
	}
	if list.Cursor == "" {
		return "", errors.New("a list has no middle: want more keys")
	}
	return list.Cursor, nil
}
