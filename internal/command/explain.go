package command

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/gate"
	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func explainCommand() *cobra.Command {
	explain := Leaf("explain --key-id <key ID> --ip <address> --method <method> --path <path> [flags]",
		"Says what would be decided on a request, and why, rule by rule", NoArgument, explainRequest)
	explain.Long = `Says what would be decided on a request, and why, rule by rule, in the order in
which the rules are looked at. Nothing is sent, and nothing is changed.

The key is named by its ID, or is the one line of standard input. Grace and what
else a gate can have are those of the backend's gate in the configuration that
--config names, and without one the default; of several gates it is the one with
the longest grace. A path at which the configuration has speechgate_issue, or its
default path without one, is the issuance API's: a call by that key is explained,
but for what epi and ipa ask.

The exit status is 0, whatever the decision.`
	explain.Example = `  $ caddy speechgate explain --key-id key_… --ip 192.0.2.7 --method POST --path /v1/recognize
  $ caddy speechgate explain --key-stdin --ip 192.0.2.7 --method GET --path /v2/recognitions/0123456789abcdef < key.txt`
	flags := explain.Flags()
	flags.String("key-id", "", "ID of the key")
	flags.Bool("key-stdin", false, "Read the key itself from standard input")
	flags.String("ip", "", "The client's address")
	flags.String("at", "", "When, as RFC 3339 spells it (default now)")
	flags.String("method", "", "The request's method")
	flags.String("path", "", "The request's path")
	flags.String("dialect", dialect.AmiVoice.Name, "The API that the gate speaks: "+words.Alternatives(dialect.Names()))
	flags.String("backend", "", "The gate's backend name (default the dialect's name, or that of the only one configured)")
	return explain
}

// question is a request to explain.
type question struct {
	keyID  string // empty if the key comes from standard input
	client netip.Addr
	at     policy.Time // zero for now
	method string
	path   *url.URL
	api    *dialect.API
}

// request is one as it is asked about: that for a stream is a handshake, and what
// is decided is its start command.
func (q *question) request() *http.Request {
	r := &http.Request{Method: q.method, URL: q.path, ProtoMajor: 1, ProtoMinor: 1}
	if q.api.Classify(q.method, q.path.EscapedPath()).Operation == policy.Stream {
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {""}}
	}
	return r
}

// explanation is what is said of it, in JSON.
type explanation struct {
	At        *string        `json:"at"`
	KeyID     *string        `json:"key_id"` // null if there is no such key
	AccountID *string        `json:"account_id"`
	ClientIP  string         `json:"client_ip"`
	Method    string         `json:"method"`
	Path      string         `json:"path"`
	Dialect   *string        `json:"dialect"` // null for the issuance API
	Backend   string         `json:"backend"`
	Operation string         `json:"operation"`
	JobID     *string        `json:"job_id"`
	Rules     []ruleResult   `json:"rules"`
	Allowed   bool           `json:"allowed"`
	Reason    string         `json:"reason"`
	Grace     *string        `json:"grace_until"`
	Answer    *refusalResult `json:"answer"` // null if it is allowed
}

// ruleResult is what one rule says.
type ruleResult struct {
	Rule    string `json:"rule"`
	Verdict string `json:"verdict"`
	Why     string `json:"why"`
}

// refusalResult is what the client sees of a refusal.
type refusalResult struct {
	Status     int    `json:"status"`
	RetryAfter int    `json:"retry_after,omitempty"` // seconds
	Body       string `json:"body"`
}

func explainRequest(cmd *cobra.Command, _ []string) error {
	q, err := questionOfFlags(cmd)
	if err != nil {
		return err
	}
	backend, err := textFlag(cmd, "backend")
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		if q.at.IsZero() {
			q.at = s.now
		}
		found, err := s.keyInQuestion(q.keyID)
		if err != nil {
			return err
		}
		ask := s.askGate
		if s.gates.issues(q.path.EscapedPath()) {
			ask = s.askIssuer
		}
		e, err := ask(&q, backend, found)
		if err != nil {
			return err
		}
		return s.print(e, e.rows()...)
	})
}

// askGate explains what the gate of a backend decides.
func (s *session) askGate(q *question, backend string, found keyAsked) (explanation, error) {
	candidates, err := s.gates.speaking(q.api, backend)
	if err != nil {
		return explanation{}, err
	}
	call, _ := candidates[0].Classify(q.api, q.request())
	job, err := s.jobInQuestion(candidates[0].Backend, call.JobID)
	if err != nil {
		return explanation{}, err
	}
	gate := mostGraceful(candidates, job)
	call, account := gate.Classify(q.api, q.request())
	e, reason := q.explain(found, &policy.Request{
		Operation: call.Operation, PathAccount: account, Client: q.client, Job: job,
	}, gate.PolicyRules())
	e.Dialect, e.Backend = &q.api.Name, gate.Backend
	if call.JobID != "" {
		e.JobID = &call.JobID
	}
	if !e.Allowed {
		e.Answer = q.refusal(call, reason)
	}
	return e, nil
}

// refusal is the answer to a refused call; that to a start command is a message.
func (q *question) refusal(call dialect.Call, reason policy.Reason) *refusalResult {
	if call.Operation == policy.Stream {
		return &refusalResult{Status: http.StatusSwitchingProtocols, Body: q.api.Stream.Refusal(reason)}
	}
	a := q.api.Refusal(call, reason)
	return &refusalResult{a.Status, a.RetryAfter, a.Body}
}

// askIssuer explains what the issuance API decides on a call by key.
func (s *session) askIssuer(q *question, _ string, found keyAsked) (explanation, error) {
	operation := policy.Unlisted
	if q.method == http.MethodPost {
		operation = policy.IssueKey
	}
	e, reason := q.explain(found, &policy.Request{Operation: operation, Client: q.client}, policy.Rules{})
	e.Backend = issue.BackendName
	if !e.Allowed {
		a := issuance.Refusal(reason)
		e.Answer = &refusalResult{a.Status, a.RetryAfter, a.Text + "\n"}
	}
	return e, nil
}

// explain goes through the rules.
func (q *question) explain(found keyAsked, r *policy.Request, rules policy.Rules) (explanation, policy.Reason) {
	results, decision := policy.Explain(q.at, found.key, r, rules)
	e := explanation{
		At: words.TimeText(q.at), ClientIP: q.client.String(), Method: q.method, Path: q.path.EscapedPath(), Operation: r.Operation.String(),
	}
	if key := found.key; key != nil {
		e.KeyID, e.AccountID = &key.ID, &key.AccountID
	}
	e.Rules, decision = found.among(results, decision)
	e.Allowed, e.Reason, e.Grace = decision.Reason.OK(), decision.Reason.String(), words.TimeText(decision.GraceUntil)
	return e, decision.Reason
}

// speaking returns the gates of one backend that speak the API: those configured
// or, where none is, one with every default.
func (h *handlers) speaking(api *dialect.API, backend string) ([]*gate.Gate, error) {
	found := make(map[string][]*gate.Gate)
	var configured map[string][]*gate.Gate
	if h != nil {
		configured = h.gates
	}
	for name, all := range configured {
		for _, gate := range all {
			if gate.Dialect == api.Name {
				gate.Backend = name
				found[name] = append(found[name], gate)
			}
		}
	}
	names := slices.Sorted(maps.Keys(found))
	switch {
	case len(names) == 0 && backend == "":
		backend = api.Name
	case len(names) == 1 && backend == "":
		backend = names[0]
	case backend == "":
		return nil, fmt.Errorf("the configuration has several backends: choose one with --backend, of %s", strings.Join(names, ", "))
	case len(names) > 0 && found[backend] == nil:
		return nil, fmt.Errorf("--backend %s: the configuration has no such backend: want %s", words.Quote(backend), words.Alternatives(names))
	}
	if found[backend] == nil {
		return []*gate.Gate{{Dialect: api.Name, Backend: backend}}, nil
	}
	return found[backend], nil
}

// mostGraceful returns the gate with the longest grace for the job, if there is
// one.
func mostGraceful(candidates []*gate.Gate, job *policy.Job) *gate.Gate {
	best := candidates[0]
	for _, gate := range candidates[1:] {
		if job != nil && gate.PolicyRules().Grace.Until(job) > best.PolicyRules().Grace.Until(job) {
			best = gate
		}
	}
	return best
}

// jobInQuestion is the record of the job with that ID; nil if there is none.
func (s *session) jobInQuestion(backend, id string) (*policy.Job, error) {
	if id == "" {
		return nil, nil
	}
	job, err := s.store.FindJob(s.ctx, backend, id)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &job, nil
}

// keyAsked is the key in question, and what there is to say of it before it is
// looked up.
type keyAsked struct {
	key     *policy.Key // nil if there is no such key
	outcome policy.Outcome
	why     string
	refused policy.Reason // Undecided if it is not
}

// keyInQuestion finds the key with this ID or, if id is empty, the key from standard
// input.
func (s *session) keyInQuestion(id string) (keyAsked, error) {
	if id != "" {
		key, err := s.store.Key(s.ctx, id)
		return keyAsked{key: &key, outcome: policy.OutcomeNotApplicable, why: "The key is named by its ID."}, unknown(err, listOfKeys)
	}
	_, secrets, err := s.readSecrets()
	switch {
	case errors.Is(err, errNoKeys):
		return keyAsked{outcome: policy.OutcomeRefused, why: "There is no key.", refused: policy.CredentialMissing}, nil
	case err != nil:
		return keyAsked{}, err
	case len(secrets) > 1:
		return keyAsked{}, fmt.Errorf("standard input has %s: want one, the key", words.Count(len(secrets), "line"))
	}
	if malformed := policy.CheckSecret(secrets[0]); malformed != nil {
		why := "The key " + malformed.Error() + "."
		return keyAsked{outcome: policy.OutcomeRefused, why: why, refused: policy.CredentialMalformed}, nil //nolint:nilerr // it is no error to explain one
	}
	found := keyAsked{outcome: policy.OutcomePassed, why: "The key has the form of one."}
	record, err := s.store.FindKey(s.ctx, secrets[0])
	switch {
	case err == nil:
		key := record.Key()
		found.key = &key
	case errors.Is(err, keystore.ErrNotFound):
		err = nil
	}
	return found, err
}

// among puts what is to be said of the credential in its place: after the rules
// that need no key.
func (c keyAsked) among(results []policy.RuleResult, d policy.Decision) ([]ruleResult, policy.Decision) {
	rules := make([]ruleResult, 0, len(results)+1)
	const before = "It was decided before."
	for _, f := range results {
		if f.Rule == policy.RuleKey {
			if f.Outcome == policy.OutcomeNotReached {
				c.outcome, c.why, c.refused = policy.OutcomeNotReached, before, policy.Undecided
			}
			rules = append(rules, ruleResult{"credential", c.outcome.String(), c.why})
		}
		if f.Rule >= policy.RuleKey && c.refused != policy.Undecided {
			f.Outcome, f.Why, d = policy.OutcomeNotReached, before, policy.Decision{Reason: c.refused}
		}
		rules = append(rules, ruleResult{f.Rule.String(), f.Outcome.String(), f.Why})
	}
	return rules, d
}

// rows are for people.
func (e *explanation) rows() [][]string {
	decides, answers := []string{"API", e.Backend}, "a new key, if epi and ipa are right"
	if e.Dialect != nil {
		decides, answers = []string{"Gate", *e.Dialect + ", backend " + e.Backend}, "the backend's answer"
	}
	rows := [][]string{
		{"Request", e.Method + " " + e.Path},
		{"From", e.ClientIP},
		{"At", *e.At},
		decides,
		{""},
		{"RULE", "VERDICT", "WHY"},
	}
	for _, r := range e.Rules {
		rows = append(rows, []string{r.Rule, strings.ReplaceAll(r.Verdict, "_", " "), r.Why})
	}
	decision, sees := "allowed", answers
	if !e.Allowed {
		decision = "refused"
		sees = strconv.Itoa(e.Answer.Status) + " " + strings.TrimSpace(e.Answer.Body)
	}
	return append(rows, []string{""}, []string{"Decision", decision}, []string{"Reason", e.Reason}, []string{"Client sees", sees})
}
