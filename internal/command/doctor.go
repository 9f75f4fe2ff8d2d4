package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/doctor"
	"github.com/speechgate/speechgate/internal/words"
)

func doctorCommand() *cobra.Command {
	cmd := Leaf("doctor [--config <file>|--address <address>] [--url <URL>] [--offline]", "Examines the configuration, the keystore, the backends and this machine", NoArgument, runDoctor)
	cmd.Long = `Examines a gateway, and says of each thing that it looks at whether it is right, and
what to do if it is not. It changes nothing.

It examines the configuration of --config, or with --address the one that the
server runs. It loads the configuration as "caddy validate" does, sends a made-up
key through every log, opens the keystore, and sends one request to each backend
and to each OpenID Connect provider of a console. If a backend can be asked without
cost, the request has the upstream key. --offline sends nothing to any of them.

With --url it also sends a request without a key to a gate of the running server, on
the way of clients, and shows which address the gateway takes for the client's. The
request names made-up clients, to see whether a proxy lets them through.

Run it as the user who runs the server, and where the server runs.

The exit status is 0 if nothing is wrong, 1 with warnings and 2 with failures.`
	cmd.Example = `  $ caddy speechgate doctor --config /etc/caddy/Caddyfile
  $ caddy speechgate doctor --address localhost:2019 --json`
	cmd.Flags().String(flagAddress, "", "The address of the running server's admin API, such as localhost:2019")
	cmd.Flags().String("url", "", "Where clients reach a gate of the running server, such as https://asr.example.com/")
	cmd.Flags().Bool("offline", false, "Send nothing to backends and providers")
	return cmd
}

func runDoctor(cmd *cobra.Command, _ []string) error {
	subject, err := doctorSubject(cmd)
	if err != nil {
		return err
	}
	report, err := examineQuietly(cmd.Context(), subject)
	if err != nil {
		return err
	}
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	if err := s.print(report, doctorRows(report)...); err != nil {
		return err
	}
	switch found := summaryOf(report); report.Status {
	case doctor.Fail:
		return kindUnsound.of(errors.New(found))
	case doctor.Warn:
		return kindDoubtful.of(errors.New(found))
	default:
		return nil
	}
}

// examineQuietly examines without the lines that Caddy and its modules log: the report has what they
// warn of.
func examineQuietly(ctx context.Context, subject *doctor.Subject) (*doctor.Report, error) {
	_, logger, buffer := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(logger)
	report, err := doctor.Examine(ctx, *subject)
	buffer.FlushTo(zap.NewNop())
	return report, err
}

// doctorSubject finds what the command examines.
func doctorSubject(cmd *cobra.Command) (*doctor.Subject, error) {
	subject := &doctor.Subject{Now: time.Now}
	var err error
	if subject.Offline, err = cmd.Flags().GetBool("offline"); err != nil {
		return nil, err
	}
	if subject.URL, err = urlFlag(cmd, "url"); err != nil {
		return nil, err
	}
	named, err := textFlag(cmd, flagAddress)
	if err != nil {
		return nil, err
	}
	if named != "" {
		if cmd.Flags().Changed(flagConfig) {
			return nil, usagef("--%s and --%s name a configuration each: want one of them", flagConfig, flagAddress)
		}
		if err := checkAddress(named); err != nil {
			return nil, err
		}
		server := runningServer(named)
		text, err := server.Config(cmd.Context())
		if err != nil {
			return nil, kindServer.of(fmt.Errorf("asking the server at %s: %w; name another with --%s", named, err, flagAddress))
		}
		if err := loadEnvFiles(cmd); err != nil {
			return nil, err
		}
		cmd.SetContext(context.WithValue(cmd.Context(), configKey{}, configuration{text: text, source: "the server at " + named, flag: true}))
		subject.Server = server
	}
	c, err := configOf(cmd)
	if err != nil {
		return nil, err
	}
	if c.text == nil {
		return nil, kindConfiguration.of(fmt.Errorf("no configuration is named: want --%s with Caddy's configuration, or --%s with the admin address of the running server", flagConfig, flagAddress))
	}
	subject.Config, subject.Source = c.text, c.source
	t, err := targetOf(cmd)
	switch {
	case err != nil:
		subject.StoreError = err
	default:
		subject.Store = t.Config
		if t.Postgres == nil {
			_, subject.StoreError = checkStore(cmd, t)
		}
	}
	if subject.Server == nil {
		subject.Server = serverOf(cmd)
	}
	return subject, nil
}

// serverOf returns the running server at the admin address of the configuration, or nil if no server
// with the gateway answers there.
func serverOf(cmd *cobra.Command) doctor.Server {
	address, err := adminAddress(cmd)
	if err != nil {
		return nil
	}
	server := runningServer(address)
	if text, err := server.Config(cmd.Context()); err != nil || !hasGateway(text) {
		return nil
	}
	return server
}

// runningServer is the server whose admin API has this address.
type runningServer string

// Config returns the configuration that runs, in JSON.
func (s runningServer) Config(context.Context) ([]byte, error) {
	resp, err := caddycmd.AdminAPIRequest(string(s), http.MethodGet, "/config/", nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	text, err := io.ReadAll(resp.Body)
	if err == nil && !json.Valid(text) {
		err = errors.New("the answer is no JSON: is this the admin API of Caddy?")
	}
	return text, err
}

// ExpectCanary makes the gates of the server note a request.
func (s runningServer) ExpectCanary(context.Context) (string, error) {
	var canary admin.Canary
	err := s.ask(http.MethodPost, admin.CanaryPath, &canary)
	return canary.ID, err
}

// Sightings returns what the gates have noted.
func (s runningServer) Sightings(_ context.Context, id string) ([]handler.Sighting, error) {
	var canary admin.Canary
	err := s.ask(http.MethodGet, admin.CanaryPath+"?id="+id, &canary)
	return canary.Seen, err
}

// UpstreamKeys says how the server uses the upstream keys.
func (s runningServer) UpstreamKeys(context.Context) (uses []doctor.KeyUse, err error) {
	err = s.ask(http.MethodGet, admin.UpstreamKeysPath, &uses)
	return uses, err
}

func (s runningServer) ask(method, path string, answer any) error {
	resp, err := caddycmd.AdminAPIRequest(string(s), method, path, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	return json.NewDecoder(resp.Body).Decode(answer)
}

// urlFlag returns the value of a flag that is the URL of an HTTP server, or "".
func urlFlag(cmd *cobra.Command, name string) (string, error) {
	text, err := textFlag(cmd, name)
	if err != nil || text == "" {
		return "", err
	}
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", usagef("--%s %s: want a URL such as https://asr.example.com/", name, words.Quote(text))
	}
	return text, nil
}

// doctorRows returns the report for people.
func doctorRows(report *doctor.Report) (rows [][]string) {
	for _, f := range report.Checks {
		what := f.Message
		if f.Subject != "" {
			what = f.Subject + ": " + what
		}
		rows = append(rows, []string{string(f.Level), string(f.Check), what})
		if f.Fix != nil {
			rows = append(rows, []string{"", "", "To do: " + *f.Fix})
		}
	}
	return rows
}

// summaryOf says how many failures and warnings a report has.
func summaryOf(report *doctor.Report) string {
	counts := make(map[doctor.Level]int)
	for _, f := range report.Checks {
		counts[f.Level]++
	}
	return fmt.Sprintf("the doctor has found %s and %s", words.Count(counts[doctor.Fail], "failure"), words.Count(counts[doctor.Warn], "warning"))
}
