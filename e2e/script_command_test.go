package e2e_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// commandProcess guards what a process has once and a command reads: the working
// directory, the environment, arguments, standard input and Caddy's default storage. Scripts run
// in parallel, and a command locks it while it runs.
var commandProcess sync.Mutex

// commandVariables are the environment variables that the command line reads and
// those that configurations in scripts name. No other variable of a script reaches
// a command that runs in this process: add a new one here.
var commandVariables = []string{
	"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "SUDO_USER",
	"WORK", "STORE", "GATE_PORT", "BACKEND_PORT", "PEPPER", "STORE_NAME", "SPEECHGATE_CONFIG", "SPEECHGATE_KEYSTORE",
}

// speechgate is the script command of that name. It runs "caddy speechgate" in this
// process, which takes a tenth of the time that a process of its own takes. Working
// directory, environment, arguments, outputs and exit status are those of a process.
// Standard input is empty, or the file that a last argument <FILE names.
func speechgate(ts *testscript.TestScript, neg bool, args []string) {
	if _, _, err := runSpeechgate(ts, args); neg && err == nil {
		ts.Fatalf("want the command to fail")
	} else if !neg {
		ts.Check(err)
	}
}

// runSpeechgate runs the command, and gives its outputs to the script as well.
func runSpeechgate(ts *testscript.TestScript, args []string) (stdout, stderr string, err error) {
	var out, log bytes.Buffer
	err = runInScript(ts, args, &out, &log)
	_, outErr := ts.Stdout().Write(out.Bytes())
	_, logErr := ts.Stderr().Write(log.Bytes())
	ts.Check(errors.Join(outErr, logErr))
	return out.String(), log.String(), err
}

func runInScript(ts *testscript.TestScript, args []string, stdout, stderr io.Writer) error {
	commandProcess.Lock()
	defer commandProcess.Unlock()
	input := os.DevNull
	if last := len(args) - 1; last >= 0 && strings.HasPrefix(args[last], "<") {
		input, args = ts.MkAbs(args[last][1:]), args[:last]
	}
	stdin, err := os.Open(input)
	ts.Check(err)
	defer stdin.Close()
	defer restore(&os.Stdin, stdin)()
	defer enter(ts)()
	defer restore(&caddy.DefaultStorage.Path, caddy.AppDataDir())()

	arguments := append([]string{"caddy", "speechgate"}, args...)
	defer restore(&os.Args, arguments)()
	cmd := newCaddyCommand()
	cmd.SetArgs(arguments[1:])
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.Execute()
}

// newCaddyCommand returns the command caddy as caddycmd.Main has it, with our
// subcommand alone.
func newCaddyCommand() *cobra.Command {
	registered := caddycmd.Commands()["speechgate"]
	cmd := &cobra.Command{
		Use:   registered.Name + " " + registered.Usage,
		Short: registered.Short,
		Long:  registered.Long,
	}
	registered.CobraFunc(cmd)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(cmd)
	return root
}

// restore sets *variable and returns the function that sets it back.
func restore[T any](variable *T, value T) func() {
	before := *variable
	*variable = value
	return func() { *variable = before }
}

// enter gives this process the script's directory and environment, and returns the
// function that takes them back.
func enter(ts *testscript.TestScript) func() {
	before, err := os.Getwd()
	ts.Check(err)
	ts.Check(os.Chdir(ts.MkAbs(".")))
	environment := os.Environ()
	for _, name := range commandVariables {
		// In a script, "env NAME=" unsets a variable.
		if value := ts.Getenv(name); value != "" {
			ts.Check(os.Setenv(name, value))
		} else {
			ts.Check(os.Unsetenv(name))
		}
	}
	return func() {
		ts.Check(os.Chdir(before))
		for _, name := range commandVariables {
			ts.Check(os.Unsetenv(name))
		}
		for _, variable := range environment {
			if name, value, _ := strings.Cut(variable, "="); slices.Contains(commandVariables, name) {
				ts.Check(os.Setenv(name, value))
			}
		}
	}
}
