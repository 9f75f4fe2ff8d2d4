package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/caddymodule/gate"
	"github.com/speechgate/speechgate/dialect"
)

// userAgent is the field User-Agent of the requests that the doctor sends.
const userAgent = "speechgate-doctor"

const (
	backendWithin = 10 * time.Second // how long a backend may take to answer

	// clockWarns and clockFails are how much the clock of a backend may differ. A Date has whole
	// seconds, and keys are short-lived in minutes.
	clockWarns = 30 * time.Second
	clockFails = 5 * time.Minute
)

// checkBackends sends a request to the backends of each proxy behind a gate, through the proxy
// itself: the request has the TLS, the name and the header of the proxy.
func (e *examination) checkBackends(ctx caddy.Context, behind []configcheck.Behind) {
	if e.Offline {
		e.add(CheckUpstream, Skip, "", "The command has --offline, and sends nothing to backends.", "")
		return
	}
	tried := make(map[*reverseproxy.Handler]bool)
	for i := range behind {
		if b := &behind[i]; !tried[b.Proxy] {
			tried[b.Proxy] = true
			e.checkBackend(ctx, behind, b.Proxy)
		}
	}
	if len(tried) == 0 {
		e.add(CheckUpstream, Skip, "", "There is no reverse_proxy behind a gate.", "")
	}
}

// checkBackend sends one request through a proxy to each of its backends. It has the upstream key of the
// gate if the API has a request that costs nothing and shows whether the key is accepted.
func (e *examination) checkBackend(ctx context.Context, behind []configcheck.Behind, proxy *reverseproxy.Handler) {
	var (
		b      *configcheck.Behind
		probes []*gate.KeyProbe
	)
	for i := range behind {
		if behind[i].Proxy != proxy {
			continue
		}
		if b == nil {
			b = &behind[i]
		}
		if g, ok := behind[i].Gate.(*gate.Gate); ok && probes == nil {
			if probes = g.KeyProbes(behind[i].Method, behind[i].Path); probes != nil {
				b = &behind[i]
			}
		}
	}
	if len(proxy.Upstreams) == 0 { // dynamic upstreams: the proxy looks them up
		e.checkUpstream(ctx, b, probes, proxy, b.Dials)
	}
	for _, upstream := range proxy.Upstreams {
		one := *proxy
		one.Upstreams = reverseproxy.UpstreamPool{upstream}
		e.checkUpstream(ctx, b, probes, &one, configcheck.DialName(upstream.Dial))
	}
}

// checkUpstream sends one request through a proxy that has one backend.
func (e *examination) checkUpstream(ctx context.Context, b *configcheck.Behind, probes []*gate.KeyProbe, proxy *reverseproxy.Handler, dial string) {
	subject := "server " + b.Name + ", upstream " + dial
	if strings.Contains(dial, "{") {
		e.add(CheckUpstream, Warn, subject, "The address of the backend depends on the request, so the doctor cannot tell whether the backend answers, and takes the upstream key.",
			"Send a request of each kind through the gateway, or write the address into reverse_proxy in place of the placeholder.")
		return
	}
	var probe *gate.KeyProbe // of the key for new work
	if len(probes) > 0 {
		probe = probes[0]
	}
	method, path, header := http.MethodGet, "/", http.Header{}
	if probe != nil {
		method, path, header = b.Method, b.Path, probe.Header.Clone()
	}
	header.Set("User-Agent", userAgent)
	answer, err := send(ctx, b.Server, proxy, method, path, header)
	if err != nil {
		e.add(CheckUpstream, Fail, subject, "The backend cannot be reached: "+err.Error()+".",
			"Check the address in reverse_proxy, the network, and the certificate of the backend.")
		return
	}
	if answer.status >= http.StatusInternalServerError {
		e.add(CheckUpstream, Warn, subject, fmt.Sprintf("The backend answers with status %d.", answer.status), "Look at the backend.")
	} else {
		e.add(CheckUpstream, Pass, subject, fmt.Sprintf("The backend answers, with status %d.", answer.status), "")
	}
	e.checkUpstreamKey(b, probe, answer, subject)
	if len(probes) > 1 {
		e.probeOldKeys(ctx, b, probes[1:], proxy, subject)
	}
	e.checkDate(answer.header.Get("Date"), subject)
}

func (e *examination) checkUpstreamKey(b *configcheck.Behind, probe *gate.KeyProbe, answer *backendAnswer, subject string) {
	switch {
	case probe == nil && b.Gate.SendsKey() && !b.Gate.PassesKey():
		e.add(CheckUpstreamKey, Skip, subject, "The API has no request without cost that shows whether the upstream key is accepted.", "")
	case probe == nil:
		e.add(CheckUpstreamKey, Skip, subject, "The gate has no upstream key.", "")
	case probe.Refused(answer.status, answer.body.Bytes()):
		e.add(CheckUpstreamKey, Fail, subject, fmt.Sprintf("The backend refuses the upstream key, with status %d: every client is refused.", answer.status),
			"Correct upstream_key, or ask the vendor whether the key has ended.")
	case answer.status >= http.StatusInternalServerError:
		e.add(CheckUpstreamKey, Skip, subject, "The backend has an error, so it is not known whether it accepts the upstream key.", "")
	default:
		e.add(CheckUpstreamKey, Pass, subject, "The backend does not refuse the upstream key.", "")
	}
}

// checkDate compares the clock of this machine with the clock of a backend.
func (e *examination) checkDate(date, subject string) {
	at, err := http.ParseTime(date)
	if err != nil {
		e.add(CheckClock, Skip, subject, "The backend sends no Date.", "")
		return
	}
	by := e.Now().Sub(at).Round(time.Second)
	level, which := Pass, "ahead of"
	if by < 0 {
		by, which = -by, "behind"
	}
	if by > clockWarns {
		level = Warn
	}
	if by > clockFails {
		level = Fail
	}
	if level == Pass {
		e.add(CheckClock, Pass, subject, "The clock of this machine agrees with the Date of the backend.", "")
		return
	}
	e.add(CheckClock, level, subject, fmt.Sprintf("The clock of this machine is %s %s the Date of the backend: keys expire too early or too late.", by, which),
		"Set the clock, and let NTP keep it.")
}

// backendAnswer records the answer of a backend.
type backendAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer // as much of it as a refusal can have
}

// Header returns the header of the answer.
func (a *backendAnswer) Header() http.Header { return a.header }

// WriteHeader notes the status.
func (a *backendAnswer) WriteHeader(status int) {
	if a.status < http.StatusOK {
		a.status = status
	}
}

// Write notes the beginning of the body.
func (a *backendAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if room := dialect.MaxKeyRefused + 1 - a.body.Len(); room > 0 {
		a.body.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// send sends a request through a proxy of a server. If there is no answer, it sends the request once
// more: a server that reloads its configuration breaks the connections that it has not accepted yet.
func send(ctx context.Context, server *caddyhttp.Server, proxy *reverseproxy.Handler, method, path string, header http.Header) (*backendAnswer, error) {
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, backendWithin)
	defer cancel()
	for range 2 {
		answer := &backendAnswer{header: make(http.Header)}
		r := &http.Request{
			Method: method, URL: target, RequestURI: path, Host: "localhost", RemoteAddr: "127.0.0.1:1",
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header.Clone(), Body: http.NoBody,
		}
		r = caddyhttp.PrepareRequest(r.WithContext(ctx), caddy.NewReplacer(), answer, server)
		nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
		err = proxy.ServeHTTP(answer, r, nothing)
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("no answer within %s", backendWithin)
		}
	}
	// Caddy's own error has a random ID and a line of Caddy's code too.
	if inner := (caddyhttp.HandlerError{}); errors.As(err, &inner) && inner.Err != nil {
		err = inner.Err
	}
	return nil, err
}
