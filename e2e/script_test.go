package e2e_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/speechgate/speechgate/internal/command"
	"github.com/speechgate/speechgate/internal/testutil"
)

// TestCommandLine runs the scripts of testdata/script. Besides testscript's own
// commands they have
//
//	speechgate ARGUMENT …     runs "caddy speechgate" in this process; a last
//	                          argument <FILE is its standard input
//	fails [STATUS] COMMAND …  runs a command that must fail as all commands fail:
//	                          with this exit status, or any of 1 to 4, nothing on
//	                          standard output, and one line on standard error,
//	                          which is an object with --json; a line that begins with
//	                          Warning: may come before it
//	capture NAME REGEXP       sets $NAME to the group in the last command's output
//	golden stdout|stderr FILE compares the last command's output with a file.
//	                          Every letter and digit of a random ID or secret is
//	                          an x in both, every digit of a time of this century
//	                          a 0, and $VARIABLES in the file are expanded
//	only stdout|stderr LINE   compares the last command's output with one line
//	expand FILE               replaces $VARIABLES in a file
//	asks KEY STATUS           reads an unknown job from the gate at $GATE_PORT
//	                          until the answer has this status
//	sends KEY METHOD PATH     sends a request with this key to the gate, a POST with some audio
//	gone FILE                 waits until a file is gone
//	record key|job|use …      writes to a keystore what no command can write
//	spoil FILE SQL            writes to a keystore as another program would
//
// and the condition [root]. $STORE is the default keystore, and $USED is the line on
// standard error by which a command says that it used that keystore. Commands that wait do so for 20 seconds at most.
//
// "exec caddy" runs the program in a process of its own. Use it for a server, for
// "sh -c", for a terminal (ttyin), and where Caddy's logger writes to standard error.
// The test is not parallel: its commands change the process's directory and
// environment.
func TestCommandLine(t *testing.T) {
	scripts, err := filepath.Abs(filepath.Join("testdata", "script")) // as commands change the directory
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: scripts,
		Setup: func(env *testscript.Env) error {
			port, err := testutil.FreePort()
			if err != nil {
				return err
			}
			backend, err := testutil.FreePort()
			if err != nil {
				return err
			}
			me, err := user.Current()
			if err != nil {
				return err
			}
			env.Setenv("GATE_PORT", port)
			env.Setenv("BACKEND_PORT", backend)
			env.Setenv("OS_USER", me.Username)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			store := filepath.Join(env.WorkDir, "data", "caddy", "speechgate", "keystore.db")
			env.Setenv("STORE", store)
			env.Setenv("USED", fmt.Sprintf("Keystore: %s (the default of user %s).", store, me.Username))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"asks":       asks,
			"capture":    capture,
			"expand":     expand,
			"fails":      fails,
			"gone":       gone,
			"golden":     golden,
			"only":       only,
			"record":     record,
			"sends":      sends,
			"speechgate": speechgate,
			"spoil":      spoil,
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
	for deadline := time.Now().Add(waitFor); ; time.Sleep(10 * time.Millisecond) {
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

func sends(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: sends KEY METHOD PATH")
	}
	var body io.Reader
	if args[1] == http.MethodPost {
		body = strings.NewReader("audio")
	}
	req, err := http.NewRequest(args[1], "http://127.0.0.1:"+ts.Getenv("GATE_PORT")+args[2], body)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+args[0])
	answer, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer answer.Body.Close()
	_, err = io.Copy(ts.Stdout(), answer.Body)
	ts.Check(err)
}

// waitFor is how long asks and gone wait.
const waitFor = 20 * time.Second

func gone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gone FILE")
	}
	for deadline := time.Now().Add(waitFor); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Lstat(ts.MkAbs(args[0])); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is still there", args[0])
		}
	}
}

func fails(ts *testscript.TestScript, neg bool, args []string) {
	want := ""
	if len(args) > 0 && slices.Contains([]string{"1", "2", "3", "4"}, args[0]) {
		want, args = args[0], args[1:]
	}
	if neg || len(args) < 1 {
		ts.Fatalf("usage: fails [STATUS] COMMAND …")
	}
	stdout, stderr, status := runAny(ts, args)
	if got := strconv.Itoa(status); status < 1 || status > 4 || want != "" && got != want {
		ts.Fatalf("the exit status is %s, want %s", got, cmp.Or(want, "1 to 4"))
	}
	if stdout != "" {
		ts.Fatalf("want nothing on standard output, and got\n%s", stdout)
	}
	line := strings.TrimSuffix(stderr, "\n")
	if warning, rest, more := strings.Cut(line, "\n"); more && strings.HasPrefix(warning, "Warning: ") {
		line = rest
	}
	switch {
	case strings.Contains(line, "\n") || !strings.HasSuffix(stderr, "\n"):
		ts.Fatalf("want one line, and perhaps a warning before it, and got\n%s", stderr)
	case slices.Contains(args, "--json"):
		if code := errorCode(ts, line); exitStatus[code] != status {
			ts.Fatalf("the code %q belongs to the exit status %d, which is %d", code, exitStatus[code], status)
		}
	case !strings.HasPrefix(line, "Error: "):
		ts.Fatalf("want a line that begins with Error:, and got\n%s", stderr)
	}
}

// exitStatus has the exit status of each code that an error has with --json.
var exitStatus = map[string]int{
	"failed": 1, "refused": 1, "usage": 2, "configuration": 2, "not_found": 3, "keystore": 4, "server": 4,
}

// errorCode returns the code of an error in JSON.
func errorCode(ts *testscript.TestScript, line string) string {
	var object struct {
		Error struct{ Code, Message string }
	}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	ts.Check(dec.Decode(&object))
	if object.Error.Message == "" {
		ts.Fatalf("the error has no message: %s", line)
	}
	return object.Error.Code
}

// runAny runs speechgate in this process and any other command in one of its own.
func runAny(ts *testscript.TestScript, args []string) (stdout, stderr string, status int) {
	if args[0] == "speechgate" {
		stdout, stderr, err := runSpeechgate(ts, args[1:])
		if failed := (*command.StatusError)(nil); errors.As(err, &failed) {
			return stdout, stderr, failed.ExitStatus()
		}
		ts.Check(err)
		return stdout, stderr, 0
	}
	if err := ts.Exec(args[0], args[1:]...); err != nil {
		exit := (*exec.ExitError)(nil)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		status = exit.ExitCode()
	}
	return ts.ReadFile("stdout"), ts.ReadFile("stderr"), status
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
	prefixText = regexp.MustCompile(`"sgk_[0-9A-Za-z]{4}"`)
	recentTime = regexp.MustCompile(`\b20[0-9]{2}-?[0-9]{2}-?[0-9]{2}T[0-9:.]+Z`)
	alnum      = regexp.MustCompile(`[0-9A-Za-z]`)
	digit      = regexp.MustCompile(`[0-9]`)
)

// masked hides what differs from run to run, but not how long it is.
func masked(output string) string {
	output = randomText.ReplaceAllStringFunc(output, func(text string) string {
		return text[:4] + alnum.ReplaceAllString(text[4:], "x")
	})
	output = prefixText.ReplaceAllString(output, `"sgk_xxxx"`)
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

func only(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: only stdout|stderr LINE")
	}
	if got := ts.ReadFile(args[0]); got != args[1]+"\n" {
		ts.Fatalf("%s is\n%s\nand not only\n%s", args[0], got, args[1])
	}
}
