package policy

import "net/netip"

// Rule is one of the rules that a request has to pass.
type Rule uint8

// The rules, in the order in which they are looked at; the first that does not
// hold decides. What no grace forgives comes before the expiry, so that this is
// the only reason left when grace is weighed.
const (
	RuleOperation  Rule = iota // the API has such an operation
	RuleEarlyData              // the sender's address is proved
	RuleKey                    // there is such a key
	RuleAccount                // its account is open
	RuleRevocation             // the operator has not revoked it
	RuleDeletion               // the account's holder has not deleted it
	RuleAddress                // it may be used from the client's address
	RulePath                   // the account that the path names, if any, is its account
	RuleExpiry                 // it has not expired, or reads by grace a job that it created
	RuleJob                    // the job is of its account
	RuleIssuance               // it may issue keys

	rules // how many there are
)

var ruleWords = [rules]string{
	RuleOperation:  "operation",
	RuleEarlyData:  "early_data",
	RuleKey:        "key",
	RuleAccount:    "account",
	RuleRevocation: "revocation",
	RuleDeletion:   "deletion",
	RuleAddress:    "address",
	RulePath:       "path",
	RuleExpiry:     "expiry",
	RuleJob:        "job",
	RuleIssuance:   "issuance",
}

// String returns the rule's word.
func (rule Rule) String() string {
	if rule >= rules {
		return ""
	}
	return ruleWords[rule]
}

// Verdict is what one rule says of a request.
type Verdict uint8

// The verdicts.
const (
	NotReached    Verdict = iota // another rule has decided before
	NotApplicable                // it has nothing to say of such a request or key
	Passed                       // it holds
	Refused                      // it does not hold
)

var verdictWords = [...]string{"not_reached", "not_applicable", "ok", "refused"}

// String returns the verdict's word.
func (v Verdict) String() string {
	if int(v) >= len(verdictWords) {
		v = NotReached
	}
	return verdictWords[v]
}

// judge goes through the rules, and says which of them decided: the first that
// does not hold, or RuleExpiry where grace makes up for it. If all hold there is
// none, which is rules. It is one plain function because every request pays for
// it.
func judge(now Time, key *Key, r *Request) (Rule, Decision) {
	if rule, reason := judgeRequest(r); reason != Undecided {
		return rule, Decision{Reason: reason}
	}
	if rule, reason := judgeKey(now, key, r.Client); reason != Undecided {
		return rule, Decision{Reason: reason}
	}
	if r.PathAccount != "" && r.PathAccount != key.AccountID {
		return RulePath, Decision{Reason: OperationUnlisted}
	}
	if key.Expires.Passed(now) {
		until, lack := weighGrace(now, key, r)
		if lack != lacksNothing {
			return RuleExpiry, Decision{Reason: KeyExpired}
		}
		return RuleExpiry, Decision{Reason: AllowedByGrace, GraceUntil: until}
	}
	switch {
	case r.namesJob() && r.Job == nil && !r.UnrecordedJobs:
		return RuleJob, Decision{Reason: JobUnknown}
	case r.namesJob() && r.Job != nil && r.Job.AccountID != key.AccountID:
		return RuleJob, Decision{Reason: JobForeign}
	case r.Operation == IssueKey && !key.Issuable:
		return RuleIssuance, Decision{Reason: NoIssuanceRight}
	}
	return rules, Decision{Reason: Allowed}
}

// judgeRequest goes through the rules that need no key.
func judgeRequest(r *Request) (Rule, Reason) {
	switch {
	case r.Operation == Unlisted || r.Operation >= operations:
		return RuleOperation, OperationUnlisted
	case r.EarlyData:
		return RuleEarlyData, EarlyData
	}
	return rules, Undecided
}

// judgeKey goes through the rules about the key itself, but its expiry.
func judgeKey(now Time, key *Key, client netip.Addr) (Rule, Reason) {
	switch {
	case key == nil || now < key.CreatedAt:
		return RuleKey, KeyUnknown
	case !key.AccountOpen:
		return RuleAccount, AccountClosed
	case !key.RevokedSince(now).IsZero():
		return RuleRevocation, KeyRevoked
	case !key.DeletedAt.IsZero():
		return RuleDeletion, KeyDeleted
	case key.Allow.Any():
		return rules, Undecided
	case !client.IsValid():
		return RuleAddress, AddressUnknown
	case !key.Allow.Contains(client):
		return RuleAddress, AddressRefused
	}
	return rules, Undecided
}

func (r *Request) namesJob() bool { return r.Operation == ReadJob || r.Operation == DeleteJob }

// graceLack is what a request lacks for the grace of an expired key.
type graceLack uint8

const (
	lacksNothing graceLack = iota
	lacksReading           // it does not read a job
	lacksJob               // the job is not recorded
	lacksCreator           // the key did not create the job
	lacksWindow            // there is no grace
	lacksTime              // the grace is over
)

// weighGrace weighs the grace window: it opens the key's own job, for reading,
// and nothing else.
func weighGrace(now Time, key *Key, r *Request) (until Time, lack graceLack) {
	j := r.Job
	switch {
	case r.Operation != ReadJob:
		return 0, lacksReading
	case j == nil:
		return 0, lacksJob
	case j.KeyID != key.ID || j.AccountID != key.AccountID:
		return 0, lacksCreator
	case r.Grace.Window <= 0: // also for a job from a clock ahead of ours
		return 0, lacksWindow
	}
	until = r.Grace.Until(j)
	if now >= until {
		return until, lacksTime
	}
	return until, lacksNothing
}
