package gate

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/policy"
)

// askingProxy describes how a proxy asks whether a request of a client may pass, and which
// answers it understands. The proxy sends the header of the client's request. A client can write
// every field that the proxy does not replace, so only the fields below are read.
type askingProxy struct {
	name string

	method string // the field with the method of the client's request; empty: the question has this method
	uri    string // the field with its path and query; empty: the question has this path and query
	client string // the field with the address of the client
	chain  bool   // the field client is a list, to which each proxy appends the address that it sees

	allowed int  // the status that lets the request pass
	denials bool // the proxy takes 401 and 403 for a refusal, and every other status for an error
}

// askingProxies has the proxies of the option proxy. The sources are the documentation of the
// proxies and, for what Envoy and Traefik do with statuses and X-Forwarded-For, their code.
var askingProxies = []askingProxy{
	{
		// ngx_http_auth_request_module. The fields are those that docs/directives/speechgate_verify.md
		// tells the operator to set.
		name: "nginx", method: "X-Original-Method", uri: "X-Original-Uri", client: "X-Real-Ip",
		allowed: http.StatusNoContent, denials: true,
	},
	{
		// The middleware ForwardAuth: X-Forwarded-For is the address of the connection, behind the
		// client's own field if trustForwardHeader is set.
		name: "traefik", method: "X-Forwarded-Method", uri: "X-Forwarded-Uri", client: "X-Forwarded-For", chain: true,
		allowed: http.StatusNoContent,
	},
	{
		// The filter ext_authz with an http_service. Envoy takes only 200 for yes. It keeps the method
		// and the path, and appends its own address to X-Forwarded-For.
		name: "envoy", client: "X-Forwarded-For", chain: true,
		allowed: http.StatusOK,
	},
	{
		// The directive forward_auth.
		name: "caddy", method: "X-Forwarded-Method", uri: "X-Forwarded-Uri", client: "X-Forwarded-For", chain: true,
		allowed: http.StatusNoContent,
	},
}

func askingProxyNames() (names []string) {
	for i := range askingProxies {
		names = append(names, askingProxies[i].name)
	}
	return names
}

// askingProxyByName returns the proxy with this name, or nil.
func askingProxyByName(name string) *askingProxy {
	i := slices.IndexFunc(askingProxies, func(p askingProxy) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return &askingProxies[i]
}

// withoutBodies returns the API as a proxy can ask about it: without the keys in bodies, which the
// question does not have.
func withoutBodies(api *dialect.API) *dialect.API {
	outside := func(places []dialect.Place) []dialect.Place {
		return slices.DeleteFunc(slices.Clone(places), func(p dialect.Place) bool { return p.Location == dialect.Part })
	}
	reduced := *api
	reduced.Audio = ""
	reduced.Places = outside(api.Places)
	reduced.Routes = slices.Clone(api.Routes)
	for i := range reduced.Routes {
		reduced.Routes[i].Keys = outside(reduced.Routes[i].Keys)
	}
	return &reduced
}

// proxyQuery is the question of a proxy whether a request of a client may pass.
type proxyQuery struct {
	caller netip.Addr
	r      *http.Request // what the proxy tells of the client's request: method, URL, header
	call   dialect.Call
	asked  policy.Request
	fault  string // what is wrong with the question; empty if nothing is
}

// serveProxy answers the question of a proxy, which came at the instant begun.
func (v *Verify) serveProxy(w http.ResponseWriter, r *http.Request, begun time.Time) error {
	caller := peerOf(r)
	if !v.callers.Contains(caller) {
		return v.refuseStranger(w, r, caller)
	}
	q := v.proxyQuery(r, caller)
	var f facts
	f.acquireStore(v.app)
	defer f.releaseStore()
	d := v.decideProxied(r.Context(), &q, &f)
	if d.Reason.OK() {
		// The end of the request is not seen, so it takes no place among those at a time.
		var ticket limits.Ticket
		v.count(&ticket, &f, q.call.Operation, limits.Command, &d) //nolint:contextcheck // the reading of what was used is for other requests too
	}

	record := &handler.DecisionRecord{
		Counters: v.counters, Operation: q.call.Operation, Reason: d.Reason, Owner: f.owner, Client: q.asked.Client, Begun: begun,
		At: v.app.Now(), Store: f.usageStore(v.app),
	}
	asked := zap.Stringer("caller", caller)
	if !d.Reason.OK() {
		record.Limit = d.Limit
		f.releaseStore()
		v.reportRefused(q.r, record, d.detail, asked) // q.r, because the log shows the client's method and path
		v.refuseProxied(w, r, &q, &d)
		return nil
	}
	f.store.NoteUse(&f.record, d.at)
	f.noteGrace(record, &d)
	v.reportAdmitted(r, record, asked)
	v.confirm(w, &f, &d)
	return nil
}

// proxyQuery reads the question of a proxy that is one of the callers.
func (v *Verify) proxyQuery(r *http.Request, caller netip.Addr) proxyQuery {
	p := v.proxy
	q := proxyQuery{caller: caller, r: r.Clone(r.Context())}
	q.r.Body, q.r.ContentLength = http.NoBody, 0
	if p.method != "" {
		q.r.Method = q.only(r, p.method)
	}
	if p.uri != "" {
		q.r.URL = q.target(r, p.uri)
	}
	q.asked.Client = q.client(r, p, v.callers)
	q.asked.EarlyData = handler.IsEarlyData(r) || slices.Contains(r.Header["Early-Data"], "1") // RFC 8470, section 5.1
	if name := credential.Override(r.Header); name != "" {
		q.fault = "the client's request has the field " + name + ", with which the backend can take another method or path than those that the proxy asks about"
	}
	if q.fault != "" {
		return q
	}
	q.call = v.asProxied.Classify(q.r.Method, q.r.URL.EscapedPath())
	if hasUnlistedParameter(q.call.Route, q.r) {
		q.call = dialect.Call{}
	}
	q.asked.Operation = q.call.Operation
	return q
}

// only returns the one value of a field that the proxy sets.
func (q *proxyQuery) only(r *http.Request, name string) string {
	values := r.Header[name]
	if len(values) != 1 || values[0] == "" {
		q.fault = "the question has " + strconv.Itoa(len(values)) + " fields " + name + ": want one, which the proxy sets for each question"
		return ""
	}
	return values[0]
}

// target returns the path and the query of the client's request.
func (q *proxyQuery) target(r *http.Request, name string) *url.URL {
	raw := q.only(r, name)
	if raw == "" {
		return new(url.URL)
	}
	target, err := url.ParseRequestURI(raw)
	if err != nil || raw[0] != '/' {
		q.fault = name + " is not the path and the query of a request: want a text such as /v1/recognize?u=KEY"
		return new(url.URL)
	}
	return target
}

// client returns the address of the client. It is invalid if the proxy does not tell it, or if the
// field cannot be understood: a key that is bound to addresses is then refused.
func (q *proxyQuery) client(r *http.Request, p *askingProxy, callers policy.AddrSet) netip.Addr {
	values := r.Header[p.client]
	if !p.chain {
		if len(values) != 1 {
			return netip.Addr{}
		}
		return parseAddr(values[0])
	}
	// Each proxy appends the address that it sees. So the last address that is not a proxy's is the
	// client, and what is in front of it can be made up.
	chain := strings.Split(strings.Join(values, ","), ",")
	for i, text := range slices.Backward(chain) {
		addr := parseAddr(text)
		if !addr.IsValid() || i == 0 || !callers.Contains(addr) {
			return addr
		}
	}
	return netip.Addr{}
}

// parseAddr returns an address without its zone, or an invalid one if text is not an address.
func parseAddr(text string) netip.Addr {
	addr, _ := netip.ParseAddr(strings.Trim(text, " \t"))
	return addr.Unmap().WithZone("")
}

// peerOf returns the address of the connection. The question tells the address of the client, so
// the address that Caddy finds by trusted_proxies can be the client's.
func peerOf(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr) // invalid for a Unix socket
	return addr.Addr().Unmap().WithZone("")
}

// decideProxied decides as the gate does on the client's request.
func (v *Verify) decideProxied(ctx context.Context, q *proxyQuery, f *facts) decision {
	if q.fault != "" {
		return decision{Decision: policy.Decision{Reason: policy.RequestMalformed}, detail: q.fault}
	}
	if reason := policy.CheckRequest(&q.asked); reason != policy.Undecided {
		return decision{Decision: policy.Decision{Reason: reason}}
	}
	if !credential.FitsRequestLine(q.r.URL.RawQuery) {
		return decision{Decision: policy.Decision{Reason: policy.RequestMalformed}, detail: "the query has a space or a control character: want it percent-encoded"}
	}
	if needsAnswer(q.call.Route) {
		return decision{
			Decision: policy.Decision{Reason: policy.OperationUnlisted},
			detail:   "the operation " + q.call.Operation.String() + " needs the directive speechgate: speechgate_verify does not see the backend's answer, and so it cannot record jobs and tokens, or drop the jobs of other accounts from lists",
		}
	}
	found := credential.Scan(q.r, v.asProxied, q.call.Route)
	d := v.decideByKey(ctx, &found, q.call.JobID, v.app.Now(), &q.asked, f)
	if d.Reason == policy.CredentialMissing {
		d.detail += "; speechgate_verify sees no bodies and no messages of streams"
	}
	return d
}

// needsAnswer reports whether the gate reads or changes the backend's answers on this route, so that
// a proxy that forwards them itself must not let the request pass.
func needsAnswer(route *dialect.Route) bool {
	return recordsAnswer(route.Operation) || route.Operation == policy.ListJobs || route.Operation == policy.Upload ||
		route.Mint != nil || route.Edits != nil
}

// refuseProxied answers with the refusal of the API. A proxy takes each status from 200 to 299 for
// yes, so a refusal that has such a status in the API is answered with 401.
func (v *Verify) refuseProxied(w http.ResponseWriter, r *http.Request, q *proxyQuery, d *decision) {
	answer := v.api.Refusal(q.call, d.Reason).Fill(func() dialect.Facts { return factsAt(v.maskedPath(q.r)) })
	d.later(&answer)
	r.Header.Del("Origin") // a proxy is not a page
	dropUpgrade(r.Header)
	writeAnswerHeader(w, r, answer, nil, v.api.SessionHeader)
	own := handler.OwnAnswer{Status: v.proxy.refusalStatus(answer.Status), Body: answer.Body}
	if v.proxy.denials {
		// nginx drops the body of a refusal. Its configuration can send the body and the status of the
		// API from these fields.
		handler.SetLiteral(w.Header(), "Speechgate-Status", strconv.Itoa(answer.Status))
		handler.SetLiteral(w.Header(), "Speechgate-Body", strings.TrimRight(answer.Body, "\r\n"))
		handler.SetLiteral(w.Header(), "Speechgate-Reason", d.Reason.String())
	}
	own.Send(w, r, v.app.Drainer(), v.logger)
}

// refusalStatus returns the status that the proxy takes for a refusal, for a refusal that has this
// status in the API.
func (p *askingProxy) refusalStatus(status int) int {
	switch {
	case status < 300:
		return http.StatusUnauthorized
	case p.denials && status != http.StatusUnauthorized:
		return http.StatusForbidden
	}
	return status
}
