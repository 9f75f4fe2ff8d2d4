//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	importedKeys = 100_000 // by each import; it takes longer than a run
	importRate   = 3000    // polls per second
	otherKeys    = 1000    // in the keystore that is not the gate's
)

// imports compares the latency of polls beside a command that imports keys with their latency
// without it, and with their latency beside an import into another keystore, which shows how much
// of it is the machine's. The command runs only while its core is idle, because it shares the core
// of the load.
func (s *suite) imports() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	other, err := fill(s.ctx, s.dir, otherKeys, otherKeys, s.progress)
	if err != nil {
		return err
	}
	gate, err := s.start(gateSite(f), s.loop.addr)
	if err != nil {
		return err
	}
	if err := s.warm(gate, f); err != nil {
		return err
	}
	run := func() (sample, error) {
		r, err := s.play(gate, plan{conns: smallConns, next: f.poll, classes: []class{answered}, rate: importRate, length: 2 * s.length})
		if err != nil {
			return nil, err
		}
		return sample{"p99": r.percentile(0.99), "CPU per request": r.cpuEach()}, nil
	}
	beside := func(f *fixture) func() (sample, error) {
		return func() (sample, error) {
			stop, err := s.startImport(f)
			if err != nil {
				return nil, err
			}
			got, err := run()
			return got, errors.Join(err, stop())
		}
	}
	m := p99AtMost(1.3)
	m.unit = "µs"
	if err := s.compare(fmt.Sprintf("import, %d requests/s", importRate), s.pairs, run, beside(f), m, cpuAtMost(0)); err != nil {
		return err
	}
	return s.compare("import, beside one into another keystore", s.pairs, beside(other), beside(f), m, cpuAtMost(0))
}

// startImport starts a command that imports new keys, and waits until it writes to the keystore.
// Stop ends the command. Its error says that the command had ended before.
func (s *suite) startImport(f *fixture) (stop func() error, err error) {
	dir, err := os.MkdirTemp(s.dir, "import-")
	if err != nil {
		return nil, err
	}
	config, keys := filepath.Join(dir, "Caddyfile"), filepath.Join(dir, "digests")
	if err := os.WriteFile(config, []byte("{\n\tspeechgate {\n\t\tkeystore sqlite "+f.path+"\n\t}\n}\n"), 0o600); err != nil {
		return nil, err
	}
	if err := writeDigests(keys); err != nil {
		return nil, err
	}
	in, err := os.Open(keys) //nolint:gosec // it was written above
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	var out bytes.Buffer
	c := exec.CommandContext(s.ctx, filepath.Join(s.bin, "gate"), "speechgate", "key", "import", "--config", config, "--account", f.account, "--expires", "never", "--digest") //nolint:gosec // built by this program
	c.Stdin, c.Stdout, c.Stderr, c.Env = in, io.Discard, &out, append(os.Environ(), "HOME="+dir, "GOMAXPROCS=1")
	if err := onCore(0, c.Start); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	var result error
	go func() { result = c.Wait(); close(ended) }()
	stop = func() error {
		select {
		case <-ended:
			return fmt.Errorf("the import ended before the run: %w: %s", result, out.String())
		default:
			_ = c.Process.Kill()
			<-ended
			return nil
		}
	}
	if err := runWhenIdle(c.Process.Pid); err != nil {
		return nil, errors.Join(err, stop())
	}
	for end := time.Now().Add(time.Minute); writtenBy(c.Process.Pid) < 1<<20; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return nil, errors.Join(errors.New("the import writes nothing"), stop())
		}
	}
	return stop, nil
}

// runWhenIdle makes all threads of a process run only while nothing else wants their core. A
// thread of the lowest priority is not enough: it keeps the core for some milliseconds.
func runWhenIdle(pid int) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, thread := range threads {
		id, _ := strconv.Atoi(thread.Name())
		err = errors.Join(err, unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0))
	}
	return err
}

// writtenBy returns how many bytes a process has written to disks; 0 if it has ended.
func writtenBy(pid int) (n int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// writeDigests writes random digests, as lines.
func writeDigests(path string) error {
	file, err := os.Create(path) //nolint:gosec // in the directory of this run
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	var digest [32]byte
	for range importedKeys {
		_, _ = rand.Read(digest[:])                           // never fails
		_, _ = fmt.Fprintln(w, hex.EncodeToString(digest[:])) // Flush returns the error
	}
	return errors.Join(w.Flush(), file.Close())
}
