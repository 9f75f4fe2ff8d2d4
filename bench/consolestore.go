//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	mostAlike    = 500    // keys with the same label, expiry and addresses: one part of the import
	leastParts   = 100    // parts of the import
	revokedKeys  = 200    // spread over the keys of an account, so that a page must look for them
	usedKeys     = 20_000 // keys with usage, on each of usedDays
	usedDays     = 5
	consoleAge   = 400 * 24 * time.Hour // of the oldest key
	consolePath  = "/console/"
	operatorName = "bench"
)

// consoleFixture is a keystore with one account that has most of the keys, and many accounts.
type consoleFixture struct {
	fixture

	other    string // the ID of another account, with few keys
	key      string // the ID of a key of the large account
	lastOwn  string // the cursor of the last page of the account's keys, newest first
	lastAll  string // the same of all keys
	lastUser string // the cursor of the last page of the accounts
}

// fillConsole creates a keystore with this many keys in one account, and this many accounts. The
// fixture has the secrets of the first inUse keys.
func fillConsole(ctx context.Context, dir string, all, accounts, inUse int, progress func(string, ...any)) (*consoleFixture, error) {
	f := &consoleFixture{fixture: fixture{path: filepath.Join(dir, fmt.Sprintf("keystore-console-%d.db", all))}}
	store, err := f.create(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }() //nolint:contextcheck // Close needs no context
	begun := now().Add(-consoleAge)
	account, _, err := store.CreateAccount(ctx, begun, operator, "Bench")
	if err != nil {
		return nil, err
	}
	f.account = account.ID
	var ids []string
	alike := min(mostAlike, max(1, all/leastParts))
	for made := 0; made < all; made += alike {
		n := made / alike
		at := begun.Add(spread(made, all))
		im := keystore.Import{AccountID: account.ID, Label: fmt.Sprintf("Terminal %04d, floor %d", n*7919%10_000, n%leastParts), Expires: policy.Never()}
		if n%3 == 1 {
			im.Expires = policy.ExpiresAt(at.Add(consoleAge)) // the first of them end in these days
		}
		if n%5 == 0 {
			if im.Allow, err = policy.ParseAddrSet("127.0.0.0/8,192.0.2.0/24,2001:db8::/32"); err != nil {
				return nil, err
			}
		}
		for range min(alike, all-made) {
			secret, err := policy.GenerateSecret(policy.KeyPrefix, fastRandom{})
			if err != nil {
				return nil, err
			}
			im.Secrets = append(im.Secrets, secret)
			if len(f.keys) < inUse {
				f.keys = append(f.keys, secret.Reveal())
			}
		}
		imported, err := store.ImportKeys(ctx, at, operator, im)
		if err != nil {
			return nil, err
		}
		for i := range imported {
			ids = append(ids, imported[i].Key.ID)
		}
		if n%40 == 0 {
			progress("filling a keystore: %d of %d keys", made, all)
		}
	}
	f.key = ids[len(ids)/2]
	progress("filling a keystore: accounts, jobs and usage")
	if err := errors.Join(f.addAccounts(ctx, store, begun, accounts), f.revoke(ctx, store, ids)); err != nil {
		return nil, err
	}
	for i := range jobCount {
		f.jobs = append(f.jobs, jobID(i))
	}
	if err := addJobs(ctx, store, policy.Job{Dialect: "amivoice", AccountID: f.account, KeyID: f.key}, f.jobs); err != nil {
		return nil, err
	}
	f.countUsage(store, ids[len(ids)-min(len(ids), usedKeys):])
	if err := store.Close(); err != nil { //nolint:contextcheck // it needs no context, and writes the usage to the journal
		return nil, err
	}
	if err := f.findLastPages(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// spread returns when a record was made, since the oldest one: the records come one after the other, as
// far apart from each other.
func spread(n, of int) time.Duration {
	return time.Duration(float64(consoleAge) * float64(n) / float64(of))
}

// addAccounts creates further accounts with a few keys each.
func (f *consoleFixture) addAccounts(ctx context.Context, store *keystore.Store, begun policy.Time, accounts int) error {
	for i := range accounts - 1 {
		at := begun.Add(spread(i, accounts))
		a, _, err := store.CreateAccount(ctx, at, operator, fmt.Sprintf("Customer %04d of %d", i*7919%10_000, i%40))
		if err != nil {
			return err
		}
		f.other = a.ID
		_, _, err = store.IssueKey(ctx, at, operator, keystore.NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Label: "Reception", Expires: policy.Never()})
		if err != nil {
			return err
		}
	}
	return nil
}

// revoke revokes some of the keys, but none of those in use.
func (f *consoleFixture) revoke(ctx context.Context, store *keystore.Store, ids []string) error {
	rest := ids[min(len(f.keys), len(ids)/2):]
	for i := range revokedKeys {
		if _, err := store.RevokeKey(ctx, now(), operator, rest[len(rest)*i/revokedKeys], "lost"); err != nil {
			return err
		}
	}
	return nil
}

// countUsage counts requests of each key on each of the last days.
func (f *consoleFixture) countUsage(store *keystore.Store, ids []string) {
	for day := range usedDays {
		at := now().Add(-time.Duration(day) * 24 * time.Hour)
		for i, id := range ids {
			of := keystore.UsageOf{KeyID: id, AccountID: f.account, Backend: "amivoice", Operation: policy.Recognize, Reason: policy.Allowed}
			store.CountUsage(at, &of, keystore.UsageCounts{Requests: int64(i%100 + 1), AudioBytes: 320_000, AudioTime: 10 * time.Second})
		}
	}
}

// findLastPages finds the cursors of the last pages of lists, newest first. It also adds the journal of
// the usage to the tables.
func (f *consoleFixture) findLastPages(ctx context.Context) error {
	store, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() //nolint:contextcheck // Close needs no context
	if err := store.Usage(ctx, keystore.UsageList{}, func(*keystore.Usage) error { return nil }); err != nil {
		return err
	}
	keys := func(account string) (string, error) {
		// Nothing matches the filter, so that each page is a long part of the list.
		list := keystore.KeyList{AccountID: account, Status: "deleted", NewestFirst: true, Bounded: true, Limit: pageRows, Now: now()}
		return lastCursor(func(cursor string, near bool) (string, error) {
			list.Cursor = cursor
			if near {
				list.Status = ""
			}
			_, next, err := store.Keys(ctx, list)
			return next, err
		})
	}
	if f.lastOwn, err = keys(f.account); err != nil {
		return err
	}
	if f.lastAll, err = keys(""); err != nil {
		return err
	}
	f.lastUser, err = lastCursor(func(cursor string, _ bool) (string, error) {
		_, next, err := store.Accounts(ctx, keystore.AccountList{NewestFirst: true, Limit: pageRows, Cursor: cursor})
		return next, err
	})
	return err
}

// pageRows is how many records a page of the console shows.
const pageRows = 50

// lastCursor returns the cursor of the last page of a list: first in long steps, and then page by page.
// Next returns the cursor that follows.
func lastCursor(next func(cursor string, near bool) (string, error)) (cursor string, err error) {
	for _, near := range []bool{false, true} {
		for {
			after, err := next(cursor, near)
			if err != nil {
				return "", err
			}
			if after == "" {
				break
			}
			cursor = after
		}
	}
	return cursor, nil
}

// signIn sets the password of a user of the console of a proxy, and returns the header line with the
// cookie of the session.
func (f *consoleFixture) signIn(ctx context.Context, p *proxy, kind, id string) (cookie string, err error) {
	store, err := f.open(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = store.Close() }() //nolint:contextcheck // Close needs no context
	setup, _, err := store.InviteConsoleUser(ctx, now(), operator, kind, id)
	if err != nil {
		return "", err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	const password = "a password of the benchmark"
	home := "http://" + p.addr + consolePath
	client := &http.Client{Jar: jar, Timeout: time.Minute}
	resp, err := client.PostForm(home+"setup/"+setup.Reveal(), url.Values{"password": {password}, "repeat": {password}}) //nolint:noctx // the client has a timeout
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	at, err := url.Parse(home)
	if err != nil {
		return "", err
	}
	var pairs []string
	for _, c := range jar.Cookies(at) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	if resp.StatusCode != http.StatusOK || len(pairs) == 0 {
		return "", fmt.Errorf("signing in at the console: %s", resp.Status)
	}
	return "Cookie: " + strings.Join(pairs, "; ") + "\r\n", nil
}
