// Package demo is the demonstration `caddy speechgate demo`: it runs a gateway and a
// backend in this process, sends requests, and checks the answers and the log.
package demo

import (
	"context"
	"crypto/rand"
	_ "embed" // for the demo's configuration
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/command"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

//go:embed demo.caddyfile
var demoCaddyfile string

// The lifetime of the key, and the grace window, of the demo's asynchronous job. The
// backend pauses the job and authenticates it again after the key has expired and before
// the window ends.
const (
	demoKeyLife = 3 * time.Second
	demoGrace   = 10 * time.Second
)

// Command returns the command `caddy speechgate demo`.
func Command() *cobra.Command {
	var once bool
	cmd := command.Leaf("demo [--once]", "Shows in a dozen seconds what the gateway does", command.NoArgument, func(cmd *cobra.Command, _ []string) error {
		// SIGPIPE comes when nobody reads the output any more. The demo must remove its
		// keystore then, too.
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
		defer stop()
		return runDemo(ctx, newStage(cmd.OutOrStdout(), os.Getenv), once)
	})
	cmd.Long = `Starts a gate, and a sandbox backend behind it, on free ports of this machine
with a keystore that is thrown away, and shows step by step what the gateway
does: each request, its answer, and why. It stays up afterwards, to be tried by
hand, until Ctrl-C.

With --once it ends by itself. The exit status is 0 only if every step came out
right.`
	cmd.Flags().BoolVar(&once, "once", false, "End by itself")
	return cmd
}

// demo is a running demonstration.
type demo struct {
	*stage
	dir   string
	clock *keystore.Clock
	gate  string // URL
	store *keystore.Store
	log   *logTail

	serviceID string // of the demo's account, with password
	password  policy.Secret
}

var errDemo = errors.New("a step of the demo did not come out right; see above")

func runDemo(ctx context.Context, s *stage, once bool) (err error) {
	dir, err := os.MkdirTemp("", "speechgate-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s.over = func() bool { return ctx.Err() != nil }
	d := &demo{stage: s, dir: dir, clock: keystore.SystemClock()}
	defer d.stop() //nolint:contextcheck // stop must run after Ctrl-C, too
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("starting the demo: %w", err)
	}
	secret, err := d.play(ctx)
	switch {
	case s.ended() && once:
		return errors.New("the demo was interrupted")
	case s.ended():
		return nil
	case err != nil:
		return err
	case !once:
		d.goOn(secret)
		<-ctx.Done()
	}
	if d.failed {
		return errDemo
	}
	return nil
}

// start runs Caddy in this process.
func (d *demo) start(ctx context.Context) error {
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return err
	}
	backendKey, err := randomSecret()
	if err != nil {
		return err
	}
	d.gate = "http://localhost:" + ports[0]
	logPath := filepath.Join(d.dir, "caddy.log")
	if err := os.WriteFile(logPath, nil, 0o600); err != nil {
		return err
	}
	text := strings.NewReplacer("{dir}", d.dir, "{gate}", ports[0], "{sandbox}", ports[1], "{verify}", ports[2],
		"{backend_key}", backendKey.Reveal(), "{grace}", demoGrace.String()).Replace(demoCaddyfile)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	// Until its log file is open, Caddy logs to standard error. The buffer keeps these
	// lines from people who watch the demo.
	_, logger, _ := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(logger)
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	if d.log, err = openLogTail(logPath); err != nil {
		return err
	}
	d.store, err = keystore.Open(ctx, keystore.Config{Path: filepath.Join(d.dir, "keystore.db"), Clock: d.clock.Now, CommandLine: true})
	return err
}

// stop ends everything that start has started.
func (d *demo) stop() {
	if d.store != nil {
		_ = d.store.Close()
	}
	_ = caddy.Stop()
	if d.log != nil {
		_ = d.log.Close()
	}
}

func randomSecret() (policy.Secret, error) {
	return policy.GenerateSecret("demo-backend-", rand.Reader)
}

// freePorts returns ports that no program listens on.
func freePorts(ctx context.Context, n int) ([]string, error) {
	var ports []string
	for range n {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		ports = append(ports, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}
