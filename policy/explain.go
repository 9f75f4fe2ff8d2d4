package policy

import (
	"fmt"
	"strings"
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
	Why     string // a sentence with the values that the outcome depends on
}

// Explain returns the decision of [Decide], and the result of every rule in
// order.
func Explain(now Time, key *Key, r *Request, rules Rules) ([]RuleResult, Decision) {
	last, d := check(now, key, r, rules)
	results := make([]RuleResult, 0, ruleCount)
	for rule := range ruleCount {
		result := RuleResult{Rule: rule, Outcome: OutcomeNotReached, Why: "It was decided before."}
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
func (n RuleName) why(now Time, key *Key, r *Request, rules Rules, reason Reason) string {
	switch n {
	case RuleOperation:
		return choose(reason != Undecided, "The gate does not let this operation through.", "The operation is "+r.Operation.String()+".")
	case RuleEarlyData:
		return choose(reason != Undecided, "It came as TLS early data, which anybody may have recorded and sent again.", "It is not TLS early data.")
	case RuleKey:
		return whyKey(now, key, r.Token)
	case RuleAccount:
		return "The key's account, " + key.AccountID + ", is " + whichAccount(key)
	case RuleRevocation:
		return whyRevocation(now, key)
	case RuleDeletion:
		if reason != Undecided {
			return fmt.Sprintf("The key was deleted at %s%s.", key.DeletedAt, whenever(now, key.DeletedAt))
		}
		return "The key is not deleted."
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
		if r.mintsByToken() {
			return "A token can neither issue a key nor mint another token."
		}
		return choose(r.Operation != IssueKey, "It does not ask for a key to be issued.",
			"The key may "+choose(key.Issuable, "", "not ")+"issue keys.")
	}
}

func choose(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

// whenever returns an addition to the sentence about a revocation or deletion that is
// dated later than now. The key counts as ended all the same.
func whenever(now, at Time) string {
	if now < at {
		return ", which counts at any instant"
	}
	return ""
}

// whichAccount ends the sentence about the key's account.
func whichAccount(key *Key) string {
	switch {
	case !key.AccountOpen:
		return "closed."
	case key.AccountSuspended:
		return "suspended."
	}
	return "open."
}

func whyKey(now Time, key *Key, token *Token) string {
	switch {
	case key == nil:
		return "There is no such key."
	case now < key.CreatedAt:
		return fmt.Sprintf("The key %s was issued at %s, which is later.", key.ID, key.CreatedAt)
	case token != nil:
		return fmt.Sprintf("The token was minted at %s for the key %s, which was issued at %s.", token.CreatedAt, key.ID, key.CreatedAt)
	}
	return fmt.Sprintf("The key is %s, issued at %s.", key.ID, key.CreatedAt)
}

func whyRevocation(now Time, key *Key) string {
	since := key.RevokedSince(now)
	switch {
	case since.IsZero() && !key.SuspendedAt.IsZero():
		return fmt.Sprintf("The key was suspended at %s, and was not resumed.", key.SuspendedAt)
	case since.IsZero() && key.RevokeFrom.IsZero():
		return "The key is not revoked."
	case since.IsZero():
		return fmt.Sprintf("The key is not revoked before %s.", key.RevokeFrom)
	case since == key.RevokedAt:
		return fmt.Sprintf("The key was revoked at %s%s.", since, whenever(now, since))
	}
	return fmt.Sprintf("The key is revoked from %s on.", since)
}

func whyAddress(key *Key, r *Request, reason Reason) string {
	switch reason {
	case AddressUnknown:
		return fmt.Sprintf("The client's address is not known, and the key may only be used from %s.", key.Allow)
	case AddressRefused:
		return fmt.Sprintf("The client's address, %s, is not among those that the key may be used from: %s.", r.Client, key.Allow)
	}
	if key.Allow.Any() {
		return "The key may be used from any address."
	}
	return fmt.Sprintf("The client's address, %s, is among those that the key may be used from: %s.", r.Client, key.Allow)
}

func whyExpiry(now Time, key *Key, r *Request, settings Grace) string {
	token := ""
	if r.Token != nil {
		if r.Token.Expired(now) {
			return fmt.Sprintf("The token expired at %s, which no grace forgives.", r.Token.ExpiresAt)
		}
		token = fmt.Sprintf("The token expires at %s, which is later. ", r.Token.ExpiresAt)
	}
	return token + whyKeyExpiry(now, key, r, settings)
}

func whyKeyExpiry(now Time, key *Key, r *Request, settings Grace) string {
	if at, ok := key.Expires.Time(); !ok {
		return "The key does not expire."
	} else if !key.Expires.Passed(now) {
		return fmt.Sprintf("The key expires at %s, which is later.", at)
	}
	until, lack := checkGrace(now, key, r, settings)
	grace := ""
	switch lack {
	case lacksNothing:
		return fmt.Sprintf("The key expired at %s, but it created the job, and the grace for reading that lasts until %s.", key.Expires, until)
	case lacksReading:
		grace = "grace is for reading jobs only"
	case lacksJob:
		grace = "there is no grace for a job that is not recorded"
	case lacksCreator:
		grace = "grace is for the key that created the job, which is " + r.Job.KeyID
	case lacksWindow:
		grace = "no grace is configured"
	case lacksTime:
		grace = fmt.Sprintf("the grace for reading the job that it created ended at %s", until)
	}
	return fmt.Sprintf("The key expired at %s, and %s.", key.Expires, grace)
}

func whyJob(key *Key, r *Request, unrecordedJobs bool) string {
	switch {
	case !r.namesJob():
		return "It names no job."
	case r.Job == nil && unrecordedJobs:
		return "The job is not recorded, and such jobs are left to the backend."
	case r.Job == nil:
		return "The job is not recorded, and such jobs are refused."
	case r.Job.AccountID != key.AccountID:
		return fmt.Sprintf("The job is of another account, %s.", r.Job.AccountID)
	}
	return fmt.Sprintf("The job is of the same account, %s.", r.Job.AccountID)
}

func whyPath(key *Key, r *Request) string {
	switch r.PathAccount {
	case "":
		return "The path names no account."
	case key.AccountID:
		return fmt.Sprintf("The path names the key's account, %s.", key.AccountID)
	}
	return fmt.Sprintf("The path names another account than the key's, %s.", key.AccountID)
}

func whyLimits(key *Key, r *Request) string {
	switch r.Operation {
	case ReadJob:
		return "Reading jobs is never limited."
	case IssueKey:
		return "The limits are for the backend's operations: the issuance API has limits of its own."
	default:
	}
	n, byAccount := key.limitMet(r)
	if n == NoLimit {
		return listLimits(key)
	}
	why := Exceeded(&key.Limits, &key.AccountLimits, n, byAccount)
	return strings.ToUpper(why[:1]) + why[1:] + "."
}

// listLimits returns a sentence with the limits of a key.
func listLimits(key *Key) string {
	list := func(l *Limits) string { return strings.Join(l.Words(), ", ") }
	switch own, account := !key.Limits.None(), !key.AccountLimits.None(); {
	case own && account:
		return "The key's limits are " + list(&key.Limits) + ", and those of all its account's keys together are " + list(&key.AccountLimits) + "."
	case own:
		return "The key's limits are " + list(&key.Limits) + "."
	case account:
		return "The limits of all the account's keys together are " + list(&key.AccountLimits) + "."
	}
	return "The key and its account have no limits."
}
