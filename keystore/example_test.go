package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

var operator = keystore.Actor{Kind: keystore.ActorOperator, ID: "alice"}

// A server opens the keystore once, and finds the key of each request in it.
func Example() {
	dir, err := os.MkdirTemp("", "keystore")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := keystore.Open(ctx, keystore.Config{Path: filepath.Join(dir, "keystore.db")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	now := policy.At(time.Now())
	account, _, err := store.CreateAccount(ctx, now, operator, "Example Inc.")
	if err != nil {
		fmt.Println(err)
		return
	}
	key, secret, err := store.IssueKey(ctx, now, operator, keystore.NewKey{
		AccountID: account.ID,
		Origin:    policy.OriginConsole,
		Expires:   policy.ExpiresAt(now.Add(time.Hour)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	record, err := store.FindKey(ctx, secret)
	found := record.Key()
	fmt.Println(found.ID == key.ID, found.Status(now), err)

	_, err = store.FindKey(ctx, policy.NewSecret("a key that no one has"))
	fmt.Println(errors.Is(err, keystore.ErrNotFound))
	// Output:
	// true active <nil>
	// true
}

// A stream lasts longer than one request. It watches the record of its key, and reads
// the record again when it may have changed.
func ExampleStore_Watch() {
	dir, err := os.MkdirTemp("", "keystore")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := keystore.Open(ctx, keystore.Config{Path: filepath.Join(dir, "keystore.db")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	now := policy.At(time.Now())
	account, _, _ := store.CreateAccount(ctx, now, operator, "Example Inc.")
	key, secret, _ := store.IssueKey(ctx, now, operator, keystore.NewKey{
		AccountID: account.ID, Origin: policy.OriginConsole, Expires: policy.Never(),
	})

	record, err := store.FindKey(ctx, secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	changed := make(chan struct{}, 1)
	cancel := store.Watch(&record, func() {
		select {
		case changed <- struct{}{}:
		default: // the stream has not yet looked at the last change
		}
	})
	defer cancel()

	if _, err := store.RevokeKey(ctx, now, operator, key.ID, "leaked"); err != nil {
		fmt.Println(err)
		return
	}
	<-changed
	record, err = store.Reread(ctx, &record)
	current := record.Key()
	fmt.Println(current.Status(now), err)
	// Output: revoked <nil>
}
