package doctor

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/speechgate/speechgate/caddymodule/handler"
)

const canaryWithin = 10 * time.Second // how long the answer to a canary may take

// madeUp returns an address that no client has (RFC 5737), one for each field.
func madeUp(field int) string { return fmt.Sprintf("192.0.2.%d", 91+field) }

// checkWayOfClients sends a request to a gate of the running server on the way of clients. The request
// names a made-up client in each field in which the server looks for one. What the gate takes for the
// client shows whether the proxies in front of it let such fields through.
func (e *examination) checkWayOfClients(ctx context.Context) {
	switch {
	case e.URL == "":
		return
	case e.Server == nil:
		e.add(CheckClientAddress, Skip, e.URL, "No running server can be asked what it sees.", "")
		return
	}
	fields := []string{"X-Forwarded-For"}
	for _, name := range e.fields {
		if name = http.CanonicalHeaderKey(name); !slices.Contains(fields, name) {
			fields = append(fields, name)
		}
	}
	seen, own, err := e.sendCanary(ctx, fields)
	switch {
	case err != nil:
		e.add(CheckClientAddress, Warn, e.URL, "The way of clients cannot be tried: "+err.Error()+".", "Correct --url, which must lead to a gate of this server. If it begins with https, this machine must trust the certificate.")
	case len(seen) == 0:
		e.add(CheckClientAddress, Warn, e.URL, "No gate of this server has seen a request to the URL.", "Correct --url, which must lead to a gate of this server, with a path that reaches the gate.")
	default:
		e.judge(seen[0], fields, own)
	}
}

// judge says by which address the gateway goes, hop by hop.
func (e *examination) judge(seen handler.Sighting, fields []string, own string) {
	way := []string{"This command connects from " + own + ". The gateway sees a connection from " + orUnknown(seen.Connection)}
	for _, name := range slices.Sorted(maps.Keys(seen.Header)) {
		way = append(way, "with "+name+": "+strings.Join(seen.Header[name], ", "))
	}
	hops := strings.Join(way, ", ") + ". It takes " + orUnknown(seen.ClientIP) + " for the address of the client."
	for i, name := range fields {
		if seen.ClientIP == madeUp(i) {
			if !e.failed(CheckClientAddress) && follows(seen.Header[name], madeUp(i), own) {
				e.add(CheckClientAddress, Skip, e.URL, hops+" The proxy has appended the address of this command, which counts as a proxy's: run the command from a machine of a client.", "")
				return
			}
			e.add(CheckClientAddress, Fail, e.URL, hops+" The client has made this address up, in "+name+": keys that are bound to addresses are open to everyone.",
				"Let the proxy in front replace or remove the field, or append the client's address to it, and set trusted_proxies_strict, as docs/proxies.md shows.")
			return
		}
	}
	if seen.ClientIP == "" {
		e.add(CheckClientAddress, Warn, e.URL, hops+" Keys that are bound to addresses are refused.", "Let the gateway listen on TCP, or trust the proxy of the Unix socket with trusted_proxies_unix.")
		return
	}
	if seen.ClientIP == seen.Connection && namesOther(seen, fields) {
		e.add(CheckClientAddress, Warn, e.URL, hops+" A proxy is in front, and is not trusted: every client has its address, so keys that are bound to addresses are refused.",
			"Write the address of the proxy into trusted_proxies, with trusted_proxies_strict.")
		return
	}
	e.add(CheckClientAddress, Pass, e.URL, hops, "")
}

// failed reports whether a check has failed.
func (e *examination) failed(check Check) bool {
	return slices.ContainsFunc(e.found, func(f Finding) bool { return f.Check == check && f.Level == Fail })
}

// follows reports whether one address comes right behind another one in a list of addresses.
func follows(list []string, first, second string) bool {
	addresses := strings.Split(strings.ReplaceAll(strings.Join(list, ","), " ", ""), ",")
	i := slices.Index(addresses, first)
	return i >= 0 && i+1 < len(addresses) && addresses[i+1] == second
}

// namesOther reports whether a proxy has named a client in X-Forwarded-For, besides the one that was
// made up.
func namesOther(seen handler.Sighting, fields []string) bool {
	for value := range strings.SplitSeq(strings.Join(seen.Header["X-Forwarded-For"], ","), ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(value))
		if err == nil && addr.String() != madeUp(slices.Index(fields, "X-Forwarded-For")) {
			return true
		}
	}
	return false
}

func orUnknown(address string) string {
	if address == "" {
		return "an unknown address"
	}
	return address
}

// sendCanary sends the request, and returns what the gates have seen, and the address that this
// machine has sent it from.
func (e *examination) sendCanary(ctx context.Context, fields []string) (seen []handler.Sighting, own string, err error) {
	id, err := e.Server.ExpectCanary(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("asking the server: %w", err)
	}
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if addr, err := netip.ParseAddrPort(info.Conn.LocalAddr().String()); err == nil {
			own = addr.Addr().Unmap().String()
		}
	}}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, e.URL, nil)
	if err != nil {
		return nil, "", err
	}
	for i, name := range fields {
		r.Header.Set(name, madeUp(i))
	}
	r.Header.Set(handler.CanaryHeader, id)
	r.Header.Set("User-Agent", userAgent)
	client := &http.Client{Timeout: canaryWithin, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	_ = answer.Body.Close() // the answer does not matter
	seen, err = e.Server.Sightings(ctx, id)
	if err != nil {
		return nil, "", fmt.Errorf("asking the server: %w", err)
	}
	return seen, own, nil
}
