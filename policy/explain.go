package policy

import (
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
)

// Outcome is the result of one rule for one request.
type Outcome uint8

// The outcomes.
const (
	OutcomeNotReached    Outcome = iota // an earlier rule has decided
	OutcomeNotApplicable                // the rule does not apply to such a request or key
	OutcomePassed                       // the rule is met
	OutcomeRefused                      // the rule is not met
)

var outcomeWords = [...]string{"not_reached", "not_applicable", "ok", "refused"}

// String returns the outcome's word.
func (o Outcome) String() string {
	if int(o) >= len(outcomeWords) {
		o = OutcomeNotReached
	}
	return outcomeWords[o]
}

// RuleResult is what one rule says about one request, and why.
type RuleResult struct {
	Rule    RuleName
	Outcome Outcome
	Why     phrase.Text // a sentence with the values that the outcome depends on
}

// Explain returns the decision of [Decide], and the result of every rule in
// order.
func Explain(now Time, key *Key, r *Request, rules Rules) ([]RuleResult, Decision) {
	last, d := check(now, key, r, rules)
	results := make([]RuleResult, 0, ruleCount)
	for rule := range ruleCount {
		result := RuleResult{Rule: rule, Outcome: OutcomeNotReached, Why: phrase.New("It was decided before.")}
		if rule <= last {
			result.Outcome = OutcomeNotApplicable
			reason := Undecided
			switch {
			case rule == last && !d.Reason.OK():
				result.Outcome, reason = OutcomeRefused, d.Reason
			case rule.applies(key, r):
				result.Outcome = OutcomePassed
			}
			result.Why = rule.why(now, key, r, rules, reason)
		}
		results = append(results, result)
	}
	return results, d
}

// applies reports whether the rule is shown as passed if it does not refuse the
// request. Otherwise it is shown as not applicable to such a key and request.
func (n RuleName) applies(key *Key, r *Request) bool {
	switch n {
	case RuleAddress:
		return !key.Allow.Any()
	case RuleJob:
		return r.namesJob()
	case RulePath:
		return r.PathAccount != ""
	case RuleIssuance:
		return r.Operation == IssueKey || r.mintsByToken()
	case RuleLimits:
		return r.Operation.Limited() && (!key.Limits.None() || !key.AccountLimits.None())
	default:
		return true
	}
}

// why explains the rule's outcome in a sentence. The reason is the reason of the
// refusal, or Undecided if the rule is met.
func (n RuleName) why(now Time, key *Key, r *Request, rules Rules, reason Reason) phrase.Text {
	switch n {
	case RuleOperation:
		if reason != Undecided {
			return phrase.New("The gate does not let this operation through.")
		}
		return phrase.New("The operation is %s.", r.Operation)
	case RuleEarlyData:
		if reason != Undecided {
			return phrase.New("It came as TLS early data, which anybody may have recorded and sent again.")
		}
		return phrase.New("It is not TLS early data.")
	case RuleKey:
		return whyKey(now, key, r.Token)
	case RuleAccount:
		return whyAccount(key)
	case RuleRevocation:
		return whyRevocation(now, key)
	case RuleDeletion:
		if reason != Undecided {
			return phrase.New("The key was deleted at %s%s.", key.DeletedAt, whenever(now, key.DeletedAt))
		}
		return phrase.New("The key is not deleted.")
	case RuleAddress:
		return whyAddress(key, r, reason)
	case RuleExpiry:
		return whyExpiry(now, key, r, rules.Grace)
	case RuleJob:
		return whyJob(key, r, rules.UnrecordedJobs)
	case RulePath:
		return whyPath(key, r)
	case RuleLimits:
		return whyLimits(key, r)
	default: // RuleIssuance
		return whyIssuance(key, r)
	}
}

// whenever returns an addition to the sentence about a revocation or deletion that is
// dated later than now. The key counts as ended all the same.
func whenever(now, at Time) phrase.Text {
	if now < at {
		return phrase.New(", which counts at any instant")
	}
	return phrase.Text{}
}

func whyAccount(key *Key) phrase.Text {
	status := phrase.Word("open")
	switch {
	case !key.AccountOpen:
		status = phrase.Word("closed")
	case key.AccountSuspended:
		status = phrase.Word("suspended")
	}
	return phrase.New("The key's account, %s, is %s.", key.AccountID, status)
}

func whyIssuance(key *Key, r *Request) phrase.Text {
	switch {
	case r.mintsByToken():
		return phrase.New("A token can neither issue a key nor mint another token.")
	case r.Operation != IssueKey:
		return phrase.New("It does not ask for a key to be issued.")
	case key.Issuable:
		return phrase.New("The key may issue keys.")
	}
	return phrase.New("The key may not issue keys.")
}

func whyKey(now Time, key *Key, token *Token) phrase.Text {
	switch {
	case key == nil:
		return phrase.New("There is no such key.")
	case now < key.CreatedAt:
		return phrase.New("The key %s was issued at %s, which is later.", key.ID, key.CreatedAt)
	case token != nil:
		return phrase.New("The token was minted at %s for the key %s, which was issued at %s.", token.CreatedAt, key.ID, key.CreatedAt)
	}
	return phrase.New("The key is %s, issued at %s.", key.ID, key.CreatedAt)
}

func whyRevocation(now Time, key *Key) phrase.Text {
	since := key.RevokedSince(now)
	switch {
	case since.IsZero() && !key.SuspendedAt.IsZero():
		return phrase.New("The key was suspended at %s, and was not resumed.", key.SuspendedAt)
	case since.IsZero() && key.RevokeFrom.IsZero():
		return phrase.New("The key is not revoked.")
	case since.IsZero():
		return phrase.New("The key is not revoked before %s.", key.RevokeFrom)
	case since == key.RevokedAt:
		return phrase.New("The key was revoked at %s%s.", since, whenever(now, since))
	}
	return phrase.New("The key is revoked from %s on.", since)
}

func whyAddress(key *Key, r *Request, reason Reason) phrase.Text {
	switch reason {
	case AddressUnknown:
		return phrase.New("The client's address is not known, and the key may only be used from %s.", key.Allow)
	case AddressRefused:
		return phrase.New("The client's address, %s, is not among those that the key may be used from: %s.", r.Client, key.Allow)
	}
	if key.Allow.Any() {
		return phrase.New("The key may be used from any address.")
	}
	return phrase.New("The client's address, %s, is among those that the key may be used from: %s.", r.Client, key.Allow)
}

func whyExpiry(now Time, key *Key, r *Request, settings Grace) phrase.Text {
	why := whyKeyExpiry(now, key, r, settings)
	switch {
	case r.Token == nil:
		return why
	case r.Token.Expired(now):
		return phrase.New("The token expired at %s, which no grace forgives.", r.Token.ExpiresAt)
	}
	return phrase.New("The token expires at %s, which is later. %s", r.Token.ExpiresAt, why)
}

func whyKeyExpiry(now Time, key *Key, r *Request, settings Grace) phrase.Text {
	if at, ok := key.Expires.Time(); !ok {
		return phrase.New("The key does not expire.")
	} else if !key.Expires.Passed(now) {
		return phrase.New("The key expires at %s, which is later.", at)
	}
	until, lack := checkGrace(now, key, r, settings)
	var grace phrase.Text
	switch lack {
	case lacksNothing:
		return phrase.New("The key expired at %s, but it created the job, and the grace for reading that lasts until %s.", key.Expires, until)
	case lacksReading:
		grace = phrase.New("grace is for reading jobs only")
	case lacksJob:
		grace = phrase.New("there is no grace for a job that is not recorded")
	case lacksCreator:
		grace = phrase.New("grace is for the key that created the job, which is %s", r.Job.KeyID)
	case lacksWindow:
		grace = phrase.New("no grace is configured")
	case lacksTime:
		grace = phrase.New("the grace for reading the job that it created ended at %s", until)
	}
	return phrase.New("The key expired at %s, and %s.", key.Expires, grace)
}

func whyJob(key *Key, r *Request, unrecordedJobs bool) phrase.Text {
	switch {
	case !r.namesJob():
		return phrase.New("It names no job.")
	case r.Job == nil && unrecordedJobs:
		return phrase.New("The job is not recorded, and such jobs are left to the backend.")
	case r.Job == nil:
		return phrase.New("The job is not recorded, and such jobs are refused.")
	case r.Job.AccountID != key.AccountID:
		return phrase.New("The job is of another account, %s.", r.Job.AccountID)
	}
	return phrase.New("The job is of the same account, %s.", r.Job.AccountID)
}

func whyPath(key *Key, r *Request) phrase.Text {
	switch r.PathAccount {
	case "":
		return phrase.New("The path names no account.")
	case key.AccountID:
		return phrase.New("The path names the key's account, %s.", key.AccountID)
	}
	return phrase.New("The path names another account than the key's, %s.", key.AccountID)
}

func whyLimits(key *Key, r *Request) phrase.Text {
	switch r.Operation {
	case ReadJob:
		return phrase.New("Reading jobs is never limited.")
	case IssueKey:
		return phrase.New("The limits are for the backend's operations: the issuance API has limits of its own.")
	default:
	}
	n, byAccount := key.limitMet(r)
	if n == NoLimit {
		return listLimits(key)
	}
	return exceeded(&key.Limits, &key.AccountLimits, n, byAccount)
}

// listLimits returns a sentence with the limits of a key.
func listLimits(key *Key) phrase.Text {
	list := func(l *Limits) string { return strings.Join(l.Words(), ", ") }
	switch own, account := !key.Limits.None(), !key.AccountLimits.None(); {
	case own && account:
		return phrase.New("The key's limits are %s, and those of all its account's keys together are %s.", list(&key.Limits), list(&key.AccountLimits))
	case own:
		return phrase.New("The key's limits are %s.", list(&key.Limits))
	case account:
		return phrase.New("The limits of all the account's keys together are %s.", list(&key.AccountLimits))
	}
	return phrase.New("The key and its account have no limits.")
}
