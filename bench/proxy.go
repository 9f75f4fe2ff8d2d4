//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proxy is a process that runs Caddy, on a core for proxies only.
type proxy struct {
	name string
	addr string
	// admin is the address of Caddy's admin endpoint, for profiles.
	admin string
	// key is what the backend must find in each request: the upstream key, or the header line
	// with it.
	key string
	// answer is the body that each answer must have; nil if any body will do.
	answer []byte

	cmd    *exec.Cmd
	exited chan struct{}
	out    string // the file with the process's output
}

// tags are the build tags of the documented build: they leave out unused storage drivers.
const tags = "nobadger,nomysql,nopgx"

// buildCaddies builds the gateway, Caddy's main package in the version that the gateway
// uses, and the floor.
func buildCaddies(ctx context.Context, dir string) error {
	for name, pkg := range map[string]string{
		"gate":  "github.com/speechgate/speechgate/cmd/caddy",
		"plain": "github.com/caddyserver/caddy/v2/cmd/caddy",
		"floor": "github.com/speechgate/speechgate/bench/floor",
	} {
		cmd := exec.CommandContext(ctx, "go", "build", "-tags="+tags, "-o", filepath.Join(dir, name), pkg) //nolint:gosec // the names are above
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
		if err := leaveCache(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

const otherBinary = "other"

// takeBuild copies another build of the gateway to the directory of the other programs.
func takeBuild(path, dir string) error {
	program, err := os.ReadFile(path) //nolint:gosec // the caller of the program names the file
	if err != nil {
		return fmt.Errorf("-against: %w", err)
	}
	to := filepath.Join(dir, otherBinary)
	if err := os.WriteFile(to, program, 0o700); err != nil { //nolint:gosec // it is run
		return err
	}
	return leaveCache(to)
}

// leaveCache removes a program from the page cache, so that its first start reads it
// from the disk. Otherwise the measured memory of the process would depend on how the
// program was linked: the Go linker and the linker of the C compiler leave it in the
// page cache in different ways.
func leaveCache(path string) error {
	file, err := os.Open(path) //nolint:gosec // a program that was just built
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := file.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// site is the part of a Caddyfile that differs between proxies.
type site struct {
	name   string
	binary string // gate, plain or floor
	global string // global options
	before string // directives before reverse_proxy
	key    string // what the backend must find in each request; see proxy
}

// start starts Caddy with a site for a backend, and waits until it listens.
func (s *suite) start(site site, backend string) (*proxy, error) {
	dir, err := os.MkdirTemp(s.dir, site.name+"-")
	if err != nil {
		return nil, err
	}
	p := &proxy{name: site.name, key: site.key, exited: make(chan struct{}), out: filepath.Join(dir, "output")}
	if p.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	if p.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(p.addr)
	config := filepath.Join(dir, "Caddyfile")
	text := fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	log default {
		output discard
	}
	%s
}
http://:%s {
	bind 127.0.0.1
	%s
	reverse_proxy %s {
		stream_close_delay 1h
		transport http {
			keepalive_idle_conns_per_host 1024
		}
	}
}
`, p.admin, site.global, port, site.before, backend)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	out, err := os.Create(p.out)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	p.cmd = exec.CommandContext(s.ctx, filepath.Join(s.bin, site.binary), "run", "--config", config) //nolint:gosec // built by this program
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	p.cmd.Env = append(p.cmd.Env, s.env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := onCore(proxyCore(), p.cmd.Start); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	s.running = append(s.running, p)
	err = p.ready()
	return p, err
}

// ready waits until the proxy listens.
func (p *proxy) ready() error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		select {
		case <-p.exited:
			out, _ := os.ReadFile(p.out)
			return fmt.Errorf("the %s proxy ended: %s", p.name, out)
		default:
		}
		if conn, err := dial(p.addr); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("the %s proxy does not listen within 20 s", p.name)
}

func (p *proxy) stop() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// cpu returns the CPU time of the process, by the kernel's clock for the process. It does
// not include the time of kernel threads that work for the process.
func (p *proxy) cpu() time.Duration {
	var t unix.Timespec
	// The clock's number is computed as in clock_getcpuclockid(3).
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &t); err != nil {
		return 0 // the process has ended; its clients report that
	}
	return time.Duration(t.Nano())
}

// memory returns a field of the process's status, in MiB: VmRSS is its resident memory,
// VmHWM is the peak of its resident memory.
func (p *proxy) memory(field string) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), field+":")
	words := strings.Fields(rest)
	if len(words) == 0 {
		return 0, errors.New("the kernel does not say " + field)
	}
	kib, err := strconv.ParseFloat(words[0], 64)
	return kib / 1024, err
}

// The proxy runs on the last core, and everything else on the other cores.
func proxyCore() int { return runtime.NumCPU() - 1 }

// onCore calls start. A process that start starts runs on one core.
func onCore(core int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	return start()
}

// leaveCore keeps this process off the proxy's core.
func leaveCore(core int) error {
	if runtime.NumCPU() < 2 {
		return errors.New("this machine has one core: want two, so that the proxy has one of its own")
	}
	var set unix.CPUSet
	for i := range runtime.NumCPU() {
		if i != core {
			set.Set(i)
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads { // later threads are children of these threads, and inherit the setting
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it returns at once
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func dial(addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(context.Background(), "tcp", addr)
}
