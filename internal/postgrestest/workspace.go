package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// patience is how long any step of a server may take. Only a server that hangs takes so long.
const patience = time.Minute

// workspace is the temporary directory of a program that runs in the background.
type workspace struct {
	path string
	pid  string // the file in it with the program's number
	as   account

	watch *exec.Cmd // the shell that waits for the end of this process
	alive *os.File  // the shell reads its other end
}

// watchScript runs in a session of its own, so that no signal for the test process ends it. The
// arguments are the directory, the file with the program's number, and the signal that stops it.
const watchScript = `
read -r _
if pid=$(head -n 1 "$2" 2>/dev/null) && kill -s "$3" "$pid" 2>/dev/null; then
	for n in 1 2 3 4 5 6 7 8 9 10; do
		for n in 1 2 3 4 5 6 7 8 9 10; do
			[ -e "$2" ] && kill -0 "$pid" 2>/dev/null || break 2
			sleep 0.05
		done
	done
	kill -s KILL "$pid" 2>/dev/null
fi
exec rm -rf "$1"
`

// newWorkspace makes a directory. When this process ends, however it ends, a shell sends the signal
// to the program whose number is in the file pid of the directory, and removes the directory.
func newWorkspace(pid, signal string) (*workspace, error) {
	as, err := findAccount()
	if err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", "speechgate-pg-")
	if err != nil {
		return nil, err
	}
	w := &workspace{path: path, pid: filepath.Join(path, pid), as: as}
	if err := w.guard(signal); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return w, nil
}

// guard gives the directory to the account, and starts the shell.
func (w *workspace) guard(signal string) error {
	if err := w.as.own(w.path); err != nil {
		return err
	}
	input, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = input.Close() }()                                         // the shell has its own
	w.watch = exec.Command("sh", "-c", watchScript, "sh", w.path, w.pid, signal) //nolint:gosec,noctx // the script is above, and outlives this process
	w.watch.Dir, w.watch.Stdin = os.TempDir(), input
	w.as.detached(w.watch)
	if err := w.watch.Start(); err != nil {
		return errors.Join(err, alive.Close())
	}
	w.alive = alive
	return nil
}

// end stops the program and removes the directory.
func (w *workspace) end() error {
	if err := errors.Join(w.alive.Close(), w.watch.Wait()); err != nil {
		return err
	}
	if _, err := os.Stat(w.path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is still there (%w)", w.path, err)
	}
	return nil
}

// run runs a program as the workspace's account, without the variables of this process's
// environment that the program would read.
func (w *workspace) run(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // a program of PostgreSQL
	cmd.Dir, cmd.Env = w.path, []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	w.as.detached(cmd)
	// A server keeps the output of the program that has started it, so the output is a file:
	// the end of a pipe would come with the end of the server.
	output, err := os.CreateTemp(w.path, "output-")
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = output, output
	failed := cmd.Run()
	said, err := os.ReadFile(output.Name())
	if err := errors.Join(err, output.Close(), os.Remove(output.Name())); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, failed, said)
	}
	return nil
}
