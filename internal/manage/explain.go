package manage

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// ExplainRequest describes a request to the gateway. Explain says what would be decided on
// it.
type ExplainRequest struct {
	// KeyID is the ID of the request's key.
	KeyID string `json:"key_id"`
	// Key is the secret of the request's key, in place of KeyID. If Key and KeyID are both
	// empty, the request has no key.
	Key policy.Secret `json:"-"`
	// ClientIP is the client's address. Required.
	ClientIP string `json:"client_ip"`
	// At is the instant of the request, in RFC 3339. Default: now.
	At string `json:"at"`
	// Method is the request's method, in capitals. Required.
	Method string `json:"method"`
	// Path is the request's path, escaped, without the query. Required.
	Path string `json:"path"`
	// Dialect is the name of the API that the gate speaks. Required.
	Dialect string `json:"dialect"`
	// Backend is the gate's backend name. Default: the name of the only backend that is
	// configured, or the name of the API.
	Backend string `json:"backend"`
}

// Validate refuses a field that is wrong. It does not look at the keystore. Times are
// checked against now.
func (r *ExplainRequest) Validate(now policy.Time) error {
	_, err := r.parse(now)
	return err
}

// explainRequest is a parsed ExplainRequest.
type explainRequest struct {
	client netip.Addr
	at     policy.Time
	now    bool // the request is made now
	method string
	path   *url.URL
	api    *dialect.API
}

func (r *ExplainRequest) parse(now policy.Time) (q explainRequest, err error) {
	if err := checkIDIfAny("key_id", KindKey, r.KeyID); err != nil {
		return q, err
	}
	for _, required := range []struct {
		name, value string
		want        phrase.Text
	}{
		{"client_ip", r.ClientIP, phrase.New("the client's address, such as 192.0.2.7")},
		{"method", r.Method, phrase.New("the request's method, such as POST")},
		{"path", r.Path, phrase.New("the request's path, such as /v1/recognize")},
		{"dialect", r.Dialect, phrase.New("the API's name, such as %s", dialect.AmiVoice.Name)},
	} {
		if required.value == "" {
			return q, wrong(required.name, " is missing: want %s", required.want)
		}
	}
	if q.client, err = parseClientIP(r.ClientIP); err != nil {
		return q, err
	}
	if q.method = r.Method; strings.Trim(q.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return q, wrong("method", " %s: want a method in capitals, such as GET or POST", words.Quote(q.method))
	}
	if q.path, err = parsePath(r.Path); err != nil {
		return q, err
	}
	if err := oneOf("dialect", r.Dialect, dialect.Names()); err != nil {
		return q, err
	}
	q.api, _ = dialect.ByName(r.Dialect)
	q.at, q.now = now, r.At == ""
	if r.At != "" {
		q.at, err = parseAt(r.At, now)
	}
	return q, err
}

// parseClientIP reads one address. An IPv4 address in IPv6 form becomes IPv4.
func parseClientIP(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err == nil {
		return addr.Unmap(), nil
	}
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return addr, wrong("client_ip", " %s: want the address without the port, %s", words.Quote(text), withPort.Addr())
	}
	return addr, wrong("client_ip", " %s: want one address, such as 192.0.2.7 or 2001:db8::7", words.Quote(text))
}

// parsePath reads an escaped path without a query.
func parsePath(text string) (*url.URL, error) {
	path, err := url.ParseRequestURI(text)
	if err != nil || !strings.HasPrefix(text, "/") || strings.ContainsAny(text, "?#") {
		return nil, wrong("path", " %s: want a path that begins with a slash, without query, such as /v1/recognize", words.Quote(text))
	}
	return path, nil
}

// Explanation says what would be decided, and why.
type Explanation struct {
	At         Time        `json:"at"`
	KeyID      OrNull      `json:"key_id"` // null if there is no such key
	AccountID  OrNull      `json:"account_id"`
	ClientIP   string      `json:"client_ip"`
	Method     string      `json:"method"`
	Path       string      `json:"path"`
	Dialect    OrNull      `json:"dialect"` // null if the issuance API decides
	Backend    string      `json:"backend"`
	Operation  string      `json:"operation"`
	JobID      OrNull      `json:"job_id"`
	Rules      []RuleShown `json:"rules"` // in the order in which they are checked
	Allowed    bool        `json:"allowed"`
	Reason     string      `json:"reason"`
	GraceUntil Time        `json:"grace_until"`
	Answer     *Refusal    `json:"answer"` // null if the request is allowed
	Limits     []UsedLimit `json:"limits"` // of the key and its account, and how much of them is used now
}

// RuleShown is what one rule says about the request.
type RuleShown struct {
	Rule    string   `json:"rule"`
	Verdict string   `json:"verdict"` // ok, refused, not_applicable or not_reached
	Why     Sentence `json:"why"`
}

// Refusal is what the client of a refused request sees.
type Refusal struct {
	Status     int    `json:"status"`
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
	Body       string `json:"body"`
	// CloseCode and CloseReason are of the Close frame after Body, if the request is the
	// handshake of a live stream that is refused on the stream.
	CloseCode   uint16 `json:"close_code,omitempty"`
	CloseReason string `json:"close_reason,omitempty"`
}

// Explain says what the gateway would decide on a request, and why. It changes
// nothing. For the holder of an account, keys and jobs of other accounts are unknown. It is
// for holders of accounts and the operator only.
func (m *Manager) Explain(ctx context.Context, r ExplainRequest) (*Explanation, error) {
	if m.Actor.Kind != keystore.ActorAccount {
		if err := m.operatorOnly(); err != nil {
			return nil, err
		}
	}
	q, err := r.parse(m.Now)
	if err != nil {
		return nil, err
	}
	found, err := m.findKey(ctx, r.KeyID, r.Key)
	if err != nil {
		return nil, err
	}
	if m.Gates.issueAt(q.path.EscapedPath()) {
		return m.explainIssuance(ctx, &q, found)
	}
	return m.explainGate(ctx, &q, r.Backend, found)
}

// explainGate explains what the gate of a backend decides.
func (m *Manager) explainGate(ctx context.Context, q *explainRequest, backend string, found foundKey) (*Explanation, error) {
	candidates, err := m.Gates.candidates(q.api, backend)
	if err != nil {
		return nil, err
	}
	call, _ := candidates[0].Classify(q.method, q.path)
	job, err := m.findJob(ctx, candidates[0].Backend, call.JobID)
	if err != nil {
		return nil, err
	}
	gate := longestGrace(candidates, job)
	call, account := gate.Classify(q.method, q.path)
	use, err := m.limitUse(ctx, found.key, call.Operation)
	if err != nil {
		return nil, err
	}
	e, reason := q.explain(found, &policy.Request{
		Operation: call.Operation, PathAccount: account, Client: q.client, Job: job,
	}, gate.Rules, &use)
	e.Dialect, e.Backend, e.JobID = OrNull(q.api.Name), gate.Backend, OrNull(call.JobID)
	if !e.Allowed {
		e.Answer = q.refusal(call, reason)
		if reason == policy.LimitReached && e.Answer.RetryAfter > 0 && use.Met.RetryAfter > 0 {
			e.Answer.RetryAfter = use.Met.RetryAfter
		}
	}
	return e, nil
}

// findJob returns the record of a job; nil if the store has no such job.
func (m *Manager) findJob(ctx context.Context, backend, id string) (*policy.Job, error) {
	if id == "" {
		return nil, nil
	}
	job, err := m.Store.FindJob(ctx, backend, id)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case !m.reaches(job.AccountID):
		return nil, nil // a client of the account sees no difference either
	}
	return &job, nil
}

// switchingProtocols is the status of the answer to a handshake. A stream that is refused by a
// message gets this status in an explanation, because the handshake has been accepted.
const switchingProtocols = 101

// refusal returns the answer to a refused request.
func (q *explainRequest) refusal(call dialect.Call, reason policy.Reason) *Refusal {
	if call.Operation == policy.Stream {
		switch rules := call.Route.Stream; {
		case rules.Commands != nil:
			return &Refusal{Status: switchingProtocols, Body: rules.Commands.Refusal(reason)}
		case rules.Handshake.InBand:
			end := rules.Handshake.End(reason)
			return &Refusal{Status: switchingProtocols, Body: end.Text, CloseCode: end.Code, CloseReason: end.Reason}
		}
	}
	a := q.api.Refusal(call, reason)
	return &Refusal{Status: a.Status, RetryAfter: a.RetryAfter, Body: a.Body}
}

// explainIssuance explains what the issuance API decides on a call by a key.
func (m *Manager) explainIssuance(ctx context.Context, q *explainRequest, found foundKey) (*Explanation, error) {
	operation := policy.Unlisted
	if q.method == "POST" {
		operation = policy.IssueKey
	}
	use, err := m.limitUse(ctx, found.key, operation)
	if err != nil {
		return nil, err
	}
	e, reason := q.explain(found, &policy.Request{Operation: operation, Client: q.client}, policy.Rules{}, &use)
	e.Backend = issuance.BackendName
	if !e.Allowed {
		a := issuance.Refusal(reason)
		e.Answer = &Refusal{Status: a.Status, RetryAfter: a.RetryAfter, Body: a.Text + "\n"}
	}
	return e, nil
}

// explain checks the rules of package policy, and begins an explanation with their results. How much
// of the limits is used is known for a request that is made now.
func (q *explainRequest) explain(found foundKey, r *policy.Request, rules policy.Rules, use *LimitUse) (*Explanation, policy.Reason) {
	if use.Met != nil && q.now {
		r.Met, r.MetByAccount = use.Met.name()
	}
	results, decision := policy.Explain(q.at, found.key, r, rules)
	e := &Explanation{
		At: Time{q.at}, ClientIP: q.client.String(), Method: q.method, Path: q.path.EscapedPath(), Operation: r.Operation.String(),
		Limits: use.Limits,
	}
	if key := found.key; key != nil {
		e.KeyID, e.AccountID = OrNull(key.ID), OrNull(key.AccountID)
	}
	e.Rules, decision = found.insert(results, decision)
	e.Allowed, e.Reason, e.GraceUntil = decision.Reason.OK(), decision.Reason.String(), Time{decision.GraceUntil}
	return e, decision.Reason
}
