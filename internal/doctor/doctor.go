// Package doctor examines a gateway: its configuration, its keystore, its backends and the machine. It
// changes nothing.
//
// [Examine] provisions the configuration as `caddy validate` does, so that each check sees what
// the gateway itself sees. Each check is a method of examination, in the file of its subject:
//
//	config.go   provisions the configuration, and takes over what the gateway warns of
//	admin.go    the address of the admin API
//	logs.go     a made-up key through every log
//	servers.go  early data, addresses of clients, streams at a reload
//	store.go    the keystore, its disk, and the machine's clock
//	database.go the PostgreSQL server of the keystore, and the way to it
//	replica.go  the replica of an edge site
//	backend.go  the backends: can they be reached, do they take the upstream key, their clock
//	provider.go the OpenID Connect providers of consoles: do they answer as providers
//	oldkeys.go  the old upstream keys: do the backends take them, are they still needed
//	ports.go    other servers on the same ports
//	running.go  the running server
//	canary.go   the way of clients to the running server
package doctor

import (
	"context"
	"time"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/keystore"
)

// Level says how a check has ended.
type Level string

// The levels.
const (
	Pass Level = "pass"
	Skip Level = "skip" // the check could not be made, or had nothing to look at
	Warn Level = "warn" // something will go wrong, or is not as safe as it could be
	Fail Level = "fail" // requests are refused or let in by mistake, or a key shows
)

// Check is the name of a check.
type Check string

// The checks, in the order of a report.
const (
	CheckCgo           Check = "cgo"
	CheckConfiguration Check = "configuration"
	CheckAdmin         Check = "admin"
	CheckHandlers      Check = "handlers"
	CheckClientAddress Check = "client_address"
	CheckEarlyData     Check = "early_data"
	CheckLogFilter     Check = "log_filter"
	CheckStreams       Check = "stream_close_delay"
	CheckKeystore      Check = "keystore"
	CheckDatabase      Check = "database"      // of a keystore in PostgreSQL only
	CheckDatabaseTLS   Check = "database_tls"  // the same
	CheckNotifications Check = "notifications" // the same
	CheckPermissions   Check = "permissions"
	CheckMigrations    Check = "migrations"
	CheckTombstone     Check = "tombstone"
	CheckDisk          Check = "disk"
	CheckReplica       Check = "replica" // of an edge site only
	CheckClock         Check = "clock"
	CheckUpstream      Check = "upstream"
	CheckUpstreamKey   Check = "upstream_key"
	CheckOldKeys       Check = "old_upstream_keys"
	CheckProvider      Check = "provider"
	CheckPorts         Check = "ports"
	CheckServer        Check = "server"
)

// Finding is the result of a check, or of one of its subjects.
type Finding struct {
	Check   Check   `json:"check"`
	Level   Level   `json:"level"`
	Subject string  `json:"subject"` // such as a server, a log or a file; empty if there is only one
	Message string  `json:"message"`
	Fix     *string `json:"fix"` // what to do; nil if there is nothing to do
}

// Report has the findings of all checks.
type Report struct {
	Status Level     `json:"status"` // pass, warn or fail: the worst level of a finding
	Checks []Finding `json:"checks"`
}

// Subject is what Examine looks at.
type Subject struct {
	// Config is the configuration of Caddy, in JSON. It must not be nil.
	Config []byte
	// Source names the configuration in messages, such as "--config Caddyfile".
	Source string
	// Store says where the keystore is.
	Store keystore.Config
	// StoreError says why this user cannot examine the keystore; nil if this user can.
	StoreError error
	// Offline leaves out the checks that send something to the backends or to a provider.
	Offline bool
	// Server asks the running server; nil if no server runs.
	Server Server
	// URL is where clients reach a gate of the running server, through the proxies in front of it. It
	// is empty if the way of clients is not tried. It needs Server.
	URL string
	// Now is the time of this machine.
	Now func() time.Time
}

// Server is the running server, as its admin API shows it.
type Server interface {
	// Config returns the configuration that runs, in JSON.
	Config(ctx context.Context) ([]byte, error)
	// ExpectCanary makes the gates note requests whose field [handler.CanaryHeader] has this ID.
	ExpectCanary(ctx context.Context) (id string, err error)
	// Sightings returns what the gates have noted.
	Sightings(ctx context.Context, id string) ([]handler.Sighting, error)
	// UpstreamKeys says how the server uses the upstream keys.
	UpstreamKeys(ctx context.Context) ([]KeyUse, error)
}

// Examine makes all checks. The error says that ctx has ended.
func Examine(ctx context.Context, s Subject) (*Report, error) {
	e := &examination{Subject: s}
	e.place, _ = s.Store.Name() // the configuration has been checked: see StoreError
	e.checkBuild()
	e.checkAdmin()
	e.checkConfiguration() //nolint:contextcheck // Caddy makes the context of a configuration itself
	e.checkStore(ctx)
	e.checkPorts()
	e.checkServer(ctx)
	e.checkWayOfClients(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return e.report(), nil
}

// examination is one run of the checks.
type examination struct {
	Subject

	found  []Finding
	place  string            // of the keystore, without a password
	loaded bool              // the configuration could be loaded; otherwise the fields below are empty
	stored *keystore.Summary // what the keystore has; nil if it could not be opened, or has no replica
	before *app.HistoryEntry // the keystore that this server had, by Caddy's storage; nil if it had none
	listen []string          // the addresses of the servers
	fields []string          // the header fields in which the servers look for the client's address

	upstreams []upstreamkey.Backend // the upstream keys of the configuration
	refused   []refusedKey          // the old ones of them that their backends refuse
}

// add adds a finding. It masks the upstream keys of the configuration, because the message can quote
// an error, and the error an answer of a backend.
func (e *examination) add(check Check, level Level, subject, message, fix string) {
	mask := app.MaskedUpstreamKeys().Mask
	f := Finding{Check: check, Level: level, Subject: mask(subject), Message: mask(oneLine(message))}
	if fix != "" {
		f.Fix = &fix
	}
	e.found = append(e.found, f)
}

// has reports whether a check has a finding.
func (e *examination) has(check Check) bool {
	for _, f := range e.found {
		if f.Check == check {
			return true
		}
	}
	return false
}

// passUnlessFound adds a pass for a check that has found nothing.
func (e *examination) passUnlessFound(check Check, message string) {
	if !e.has(check) {
		e.add(check, Pass, "", message, "")
	}
}

// report returns the findings in the order of the checks.
func (e *examination) report() *Report {
	r := &Report{Status: Pass}
	for _, check := range []Check{
		CheckCgo, CheckConfiguration, CheckAdmin, CheckHandlers, CheckClientAddress, CheckEarlyData, CheckLogFilter, CheckStreams,
		CheckKeystore, CheckDatabase, CheckDatabaseTLS, CheckNotifications, CheckPermissions, CheckMigrations, CheckTombstone, CheckDisk, CheckReplica, CheckClock,
		CheckUpstream, CheckUpstreamKey, CheckOldKeys, CheckProvider, CheckPorts, CheckServer,
	} {
		for _, f := range e.found {
			if f.Check == check {
				r.Checks = append(r.Checks, f)
				r.Status = worse(r.Status, f.Level)
			}
		}
	}
	return r
}

func worse(a, b Level) Level {
	if a == Fail || b == Fail {
		return Fail
	}
	if a == Warn || b == Warn {
		return Warn
	}
	return Pass
}
