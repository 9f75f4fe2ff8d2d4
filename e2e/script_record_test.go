package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// record writes to the keystore at $STORE
//
//	record key NAME ACCOUNT initial|console|api [EXPIRES|never [ISSUER]]
//	record job BACKEND ID ACCOUNT KEY STATE CREATED [ENDED]
//	record use SECRET TIME
//
// and sets $NAME to the key's ID. A key that expires was issued an hour before.
func record(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: record key|job|use …")
	}
	store, err := keystore.Open(context.Background(), keystore.Config{Path: ts.Getenv("STORE"), CommandLine: true})
	ts.Check(err)
	switch args[0] {
	case "key":
		ts.Setenv(args[1], recordKey(ts, store, args[2:]))
	case "job":
		recordJob(ts, store, args[1:])
	case "use":
		key, err := store.FindKey(context.Background(), policy.NewSecret(args[1]))
		ts.Check(err)
		store.NoteUse(&key, instant(ts, args[2]))
	}
	ts.Check(store.Close())
}

func recordKey(ts *testscript.TestScript, store *keystore.Store, args []string) string {
	origin, err := policy.ParseOrigin(args[1])
	ts.Check(err)
	now, expires, issuer := policy.At(time.Now()), policy.Never(), ""
	if len(args) > 2 && args[2] != "never" {
		at := instant(ts, args[2])
		now, expires = at.Add(-time.Hour), policy.ExpiresAt(at)
	}
	if len(args) > 3 {
		issuer = args[3]
	}
	key, _, err := store.IssueKey(context.Background(), now, keystore.Actor{Kind: keystore.ActorOperator, ID: "test"},
		keystore.NewKey{AccountID: args[0], Origin: origin, Expires: expires, Issuer: issuer})
	ts.Check(err)
	return key.ID
}

func recordJob(ts *testscript.TestScript, store *keystore.Store, args []string) {
	job := policy.Job{
		Backend: args[0], ID: args[1], Dialect: "amivoice", AccountID: args[2], KeyID: args[3],
		State: policy.ParseJobState(args[4]), CreatedAt: instant(ts, args[5]),
	}
	if !strings.HasPrefix(job.ID, "anonymous") {
		job.Client = netip.MustParseAddr("192.0.2.7")
	}
	if len(args) > 6 {
		job.EndedAt = instant(ts, args[6])
	}
	ts.Check(store.CreateJob(context.Background(), job))
}

func spoil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: spoil FILE SQL")
	}
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = db.ExecContext(context.Background(), args[1])
	ts.Check(errors.Join(err, db.Close()))
}

func instant(ts *testscript.TestScript, text string) policy.Time {
	t, err := time.Parse(time.RFC3339, text)
	ts.Check(err)
	return policy.At(t)
}
