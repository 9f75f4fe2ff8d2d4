// Package demo is the demonstration `caddy speechgate demo`: it runs a gateway and a
// backend in this process, sends requests, and checks the answers and the log.
package demo

import (
	"context"
	"crypto/rand"
	_ "embed" // for the configuration
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/command"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// script is what the demo shows of one API.
type script struct {
	caddyfile string // the configuration

	title      string // of the first recognition; "" if it is synchronous
	recognized string // a part of the answer to a recognition; "" if the answer has the result

	// recognition returns a request with the recording, and how the demo shows it.
	recognition func(d *demo, ctx context.Context, key policy.Secret) (shown string, req *http.Request, err error)

	denied    string // a part of the answer to a key that nobody issued
	deniedWhy string
	elsewhere string // a part of the answer to a key for another address

	elsewhereWhy string

	requests func(d *demo, ctx context.Context, keys keyring) error // the steps of this API only, before those of all APIs
	streams  func(d *demo, ctx context.Context, keys keyring) error // the last steps: live recognition
	byHand   []string                                               // commands for people; {gate} and {wav} are replaced
}

// scripts returns the script of each API.
func scripts() map[string]script {
	return map[string]script{
		dialect.AmiVoice.Name: amiVoice, dialect.AssemblyAI.Name: assemblyAI, dialect.Deepgram.Name: deepgram,
		dialect.OpenAI.Name: openAI, dialect.Speechmatics.Name: speechmatics,
	}
}

//go:embed keyed.caddyfile
var keyedCaddyfile string

// withoutJobs returns the configuration for an API that has no jobs.
func withoutJobs(api string) string { return withJobs(api, "") }

// withJobs returns the configuration for an API whose key is in a header. The options of the sandbox
// say how long its jobs take.
func withJobs(api, times string) string {
	return strings.NewReplacer("{dialect}", api, "{job_times}", times).Replace(keyedCaddyfile)
}

// Command returns the command `caddy speechgate demo`.
func Command() *cobra.Command {
	var once bool
	var api string
	cmd := command.Leaf("demo [--dialect <api>] [--once]", "Shows in a dozen seconds what the gateway does", command.NoArgument, func(cmd *cobra.Command, _ []string) error {
		chosen, ok := scripts()[api]
		if !ok {
			return command.Usagef("--dialect %q: want %s", api, words.Alternatives(slices.Sorted(maps.Keys(scripts()))))
		}
		// SIGPIPE comes when nobody reads the output any more. The demo must remove its
		// keystore then, too.
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
		defer stop()
		return runDemo(ctx, newStage(cmd.OutOrStdout(), os.Getenv), chosen, once)
	})
	cmd.Long = `Starts a gate, and a sandbox backend behind it, on free ports of this machine
with a keystore that is thrown away, and shows step by step what the gateway
does: each request, its answer, and why. It stays up afterwards, to be tried by
hand, until Ctrl-C.

With --once it ends by itself. The exit status is 0 only if every step came out
right.`
	cmd.Flags().StringVar(&api, "dialect", dialect.AmiVoice.Name, "The API that clients speak: amivoice, assemblyai, deepgram, openai or speechmatics")
	cmd.Flags().BoolVar(&once, "once", false, "End by itself")
	return cmd
}

// demo is a running demonstration.
type demo struct {
	*stage
	script script
	dir    string
	clock  *keystore.Clock
	gate   string // URL
	store  *keystore.Store
	log    *logTail

	accountID string
	serviceID string // of the demo's account, with password
	password  policy.Secret
}

var errDemo = errors.New("a step of the demo did not come out right; see above")

func runDemo(ctx context.Context, s *stage, api script, once bool) (err error) {
	dir, err := os.MkdirTemp("", "speechgate-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s.over = func() bool { return ctx.Err() != nil }
	d := &demo{stage: s, script: api, dir: dir, clock: keystore.SystemClock()}
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
		"{backend_key}", backendKey.Reveal(), "{grace}", demoGrace.String()).Replace(d.script.caddyfile)
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
