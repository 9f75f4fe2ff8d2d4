package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// TestCommandLine runs the scripts of testdata/script. Beside testscript's own
// they have the commands
//
//	capture NAME REGEXP       sets $NAME to the group in the last command's output
//	golden stdout|stderr FILE compares the last command's output with a file,
//	                          where every letter and digit of a random ID or
//	                          secret is an x, every digit of a time from this
//	                          century a 0, and $VARIABLES are expanded
//	expand FILE               replaces $VARIABLES in a file
//	fails COMMAND …           runs a command that must fail as all do: with exit
//	                          status 1, nothing on standard output, and one line
//	                          on standard error
//	asks KEY STATUS           reads an unknown job from the gate at $GATE_PORT,
//	                          until the answer is as wanted or 5 seconds are over
//	record key|job|use …      writes to a keystore what no command can make
//	spoil FILE SQL            writes to a keystore as another program would
//
// and the condition [root].
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			port, err := freePort()
			if err != nil {
				return err
			}
			me, err := user.Current()
			if err != nil {
				return err
			}
			env.Setenv("GATE_PORT", port)
			env.Setenv("OS_USER", me.Username)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("STORE", filepath.Join(env.WorkDir, "data", "caddy", "speechgate", "keystore.db"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"asks":    asks,
			"capture": capture,
			"expand":  expand,
			"fails":   fails,
			"golden":  golden,
			"record":  record,
			"spoil":   spoil,
		},
		Condition: func(condition string) (bool, error) {
			if condition == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", condition)
		},
	})
}

func asks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: asks KEY STATUS")
	}
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+ts.Getenv("GATE_PORT")+"/v2/recognitions/unknown", nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+args[0])
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := "none"
		if answer, err := http.DefaultClient.Do(req); err == nil {
			ts.Check(answer.Body.Close())
			got = strconv.Itoa(answer.StatusCode)
		}
		if got == args[1] {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("want status %s, and got %s", args[1], got)
		}
	}
}

func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: fails COMMAND …")
	}
	err := ts.Exec(args[0], args[1:]...)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		ts.Fatalf("want exit status 1, and got %v", err)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("want nothing on standard output, and got\n%s", out)
	}
	if text := ts.ReadFile("stderr"); !strings.HasPrefix(text, "Error: ") || strings.Index(text, "\n") != len(text)-1 {
		ts.Fatalf("want one line that begins with Error:, and got\n%s", text)
	}
}

// freePort returns a port that nothing listens on.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return "", err
	}
	return port, listener.Close()
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("capture: the output has no %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

var (
	randomText = regexp.MustCompile(`\b(acc|key|svc|sgk|sgs)_[0-9A-Za-z]{20,}`)
	recentTime = regexp.MustCompile(`\b20[0-9]{2}-?[0-9]{2}-?[0-9]{2}T[0-9:.]+Z`)
	alnum      = regexp.MustCompile(`[0-9A-Za-z]`)
	digit      = regexp.MustCompile(`[0-9]`)
)

// masked hides what differs from run to run, but not how long it is.
func masked(output string) string {
	output = randomText.ReplaceAllStringFunc(output, func(text string) string {
		return text[:4] + alnum.ReplaceAllString(text[4:], "x")
	})
	return recentTime.ReplaceAllStringFunc(output, func(text string) string {
		return digit.ReplaceAllString(text, "0")
	})
}

func golden(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: golden stdout|stderr FILE")
	}
	got := masked(ts.ReadFile(args[0]))
	want := masked(os.Expand(ts.ReadFile(args[1]), ts.Getenv))
	if got != want {
		ts.Fatalf("%s is\n%s\nbut %s wants\n%s", args[0], got, args[1], want)
	}
}

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
