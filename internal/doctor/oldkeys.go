package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/caddymodule/gate"
	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// KeyUse is what the running server says of an upstream key: the JSON of its admin API.
type KeyUse struct {
	Backend     string     `json:"backend"`
	Position    *int       `json:"position"` // in the upstream_key of the server; nil if it is not there
	Fingerprint string     `json:"fingerprint"`
	Streams     int        `json:"streams"`
	Requests    int        `json:"requests"`
	LastUsedAt  *time.Time `json:"last_used_at"` // nil if the server has not used the key
}

// keyAt is an upstream key of a backend.
type keyAt struct {
	backend  string
	position int // in upstream_key, from 1
}

// refusedKey is an old key that the backend refuses.
type refusedKey struct {
	keyAt

	subject string
	status  int
}

// probeOldKeys sends the probes of the upstream keys after the first one, through a proxy that has one
// backend, and notes which of the keys the backend refuses.
func (e *examination) probeOldKeys(ctx context.Context, b *configcheck.Behind, probes []*gate.KeyProbe, proxy *reverseproxy.Handler, subject string) {
	for _, probe := range probes {
		at := keyAt{probe.Backend, probe.Position}
		subject := fmt.Sprintf("%s, key %d of upstream_key", subject, at.position)
		header := probe.Header.Clone()
		header.Set("User-Agent", userAgent)
		answer, err := send(ctx, b.Server, proxy, b.Method, b.Path, header)
		switch {
		case err != nil || answer.status >= http.StatusInternalServerError:
			e.add(CheckUpstreamKey, Skip, subject, "The backend has an error, so it is not known whether it accepts this old key.", "")
		case probe.Refused(answer.status, answer.body.Bytes()):
			e.refused = append(e.refused, refusedKey{at, subject, answer.status})
		default:
			e.add(CheckUpstreamKey, Pass, subject, "The backend does not refuse this old key.", "")
		}
	}
}

// checkOldKeys says whether the old upstream keys are still needed. store is nil if the keystore
// cannot be used.
func (e *examination) checkOldKeys(ctx context.Context, store *keystore.Store) {
	// The server is asked first: a request that creates a job runs until the job is recorded.
	uses, answered := e.askUses(ctx)
	needs, err := e.keyNeeds(ctx, store)
	needed := make(map[keyAt]int) // how many jobs need the key
	for _, n := range needs {
		needed[keyAt{n.Backend, n.Position}] = n.Jobs
	}
	for _, refused := range e.refused {
		level, what := Warn, "Remove it from upstream_key."
		if needed[refused.keyAt] > 0 {
			level, what = Fail, "If the vendor has ended it, remove it from upstream_key: its jobs are then read with the first key. If not, correct it."
		}
		e.add(CheckUpstreamKey, level, refused.subject, fmt.Sprintf("The backend refuses this old key, with status %d: requests about its jobs fail.", refused.status), what)
	}
	switch {
	case !e.loaded:
		e.add(CheckOldKeys, Skip, "", "The configuration cannot be loaded, so its upstream keys are not known.", "")
		return
	case store == nil:
		e.add(CheckOldKeys, Skip, "", "The keystore cannot be used, so it does not say which upstream keys are still needed.", "")
		return
	case err != nil:
		e.add(CheckOldKeys, Fail, e.place, e.reason(err), "")
		return
	}
	for i := range needs {
		e.reportKey(&needs[i], uses.take(&needs[i]), answered)
	}
	for _, use := range uses { // of keys that are not in this configuration
		if e.hasBackend(use.Backend) && use.Streams+use.Requests > 0 {
			e.reportKey(&upstreamkey.Need{Backend: use.Backend}, use, answered)
		}
	}
	e.passUnlessFound(CheckOldKeys, "No old upstream key is configured, and nothing needs one.")
}

// keyNeeds returns what in the keystore needs each upstream key of the configuration.
func (e *examination) keyNeeds(ctx context.Context, store *keystore.Store) ([]upstreamkey.Need, error) {
	if store == nil {
		return nil, nil
	}
	recorded, err := store.UpstreamKeyNeeds(ctx, policy.At(e.Now()))
	if err != nil {
		return nil, err
	}
	return upstreamkey.Needs(store, e.upstreams, recorded, nil), nil
}

// hasBackend reports whether the configuration has a gate of the backend.
func (e *examination) hasBackend(name string) bool {
	return slices.ContainsFunc(e.upstreams, func(b upstreamkey.Backend) bool { return b.Name == name })
}

// keyUses are the uses of upstream keys by the running server.
type keyUses []KeyUse

// askUses asks the running server how it uses the keys. answered is false if no server answers.
func (e *examination) askUses(ctx context.Context) (uses keyUses, answered bool) {
	if e.Server == nil {
		return nil, false
	}
	uses, err := e.Server.UpstreamKeys(ctx)
	return uses, err == nil
}

// take removes the use of a key, and returns it.
func (u *keyUses) take(n *upstreamkey.Need) KeyUse {
	for i, use := range *u {
		if use.Backend == n.Backend && use.Fingerprint == n.Fingerprint.String() {
			*u = slices.Delete(*u, i, i+1)
			return use
		}
	}
	return KeyUse{Backend: n.Backend, Fingerprint: n.Fingerprint.String()}
}

// reportKey says whether an old key is still needed.
func (e *examination) reportKey(n *upstreamkey.Need, use KeyUse, answered bool) {
	n.Streams, n.Requests = use.Streams, use.Requests
	switch subject := fmt.Sprintf("backend %s, key %d of upstream_key", n.Backend, n.Position); {
	case n.Position == 1: // the key of new work
	case n.Position == 0 && !n.Idle():
		e.add(CheckOldKeys, Warn, fmt.Sprintf("backend %s, a key that is not in upstream_key, with the fingerprint %s", n.Backend, use.Fingerprint),
			"It is still needed: "+needText(n)+". Without it, requests about its jobs go out with the first key.",
			"Write it at the end of upstream_key while the vendor accepts it, until these have ended.")
	case n.Position == 0:
	case use.Position != nil && *use.Position == 1:
		e.add(CheckOldKeys, Warn, subject, "The server still takes it for new work, because it runs another configuration.",
			"Load this configuration with caddy reload.")
	case !n.Idle():
		e.add(CheckOldKeys, Warn, subject, "It is not idle: "+needText(n)+".",
			"Keep it in upstream_key, and do not end it at the vendor. Run doctor again when these have ended.")
	case !answered:
		e.add(CheckOldKeys, Skip, subject, "No job and no token needs it. No server was asked, so it is not known whether a live stream or a request needs it.",
			"Run doctor where the server runs, with the address of its admin API.")
	default:
		e.add(CheckOldKeys, Pass, subject, "It is idle: no job, token, stream or request needs it. "+lastUse(use)+".",
			"Remove it from upstream_key, reload, and then end it at the vendor.")
	}
}

// needText lists what needs a key.
func needText(n *upstreamkey.Need) string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{{n.Jobs, "job"}, {n.Tokens, "token"}, {n.Streams, "live stream"}, {n.Requests, "request"}} {
		if part.n == 0 {
			continue
		}
		text := words.Count(part.n, part.what)
		if part.what == "job" {
			text += fmt.Sprintf(" whose end no poll has seen (the newest of %s)", n.LastJob)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func lastUse(use KeyUse) string {
	if use.LastUsedAt == nil {
		return "The server has not used it since its start"
	}
	return fmt.Sprintf("The server used it last at %s", policy.At(*use.LastUsedAt))
}
