package policy

import "net/netip"

// RuleName names one of the rules that a request has to pass.
type RuleName uint8

// The rules, in the order in which they are checked. The first rule that fails
// decides. The rules that the grace window does not forgive come before the
// expiry, so that the expiry is the only open question when grace is checked.
const (
	RuleOperation  RuleName = iota // the API has such an operation
	RuleEarlyData                  // the request did not come as TLS early data
	RuleKey                        // the keystore has such a key
	RuleAccount                    // the key's account is open, and not suspended
	RuleRevocation                 // the operator has neither revoked nor suspended the key
	RuleDeletion                   // the account's owner has not deleted the key
	RuleAddress                    // the key may be used from the client's address
	RulePath                       // the path names no account, or the key's account
	RuleExpiry                     // the token has not expired, and the key has not expired or grace lets it read a job that it created
	RuleJob                        // the job belongs to the key's account
	RuleIssuance                   // the key may issue keys, and a token gets no other credential
	RuleLimits                     // the request is within the limits of the key and its account

	ruleCount
)

var ruleWords = [ruleCount]string{
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
	RuleLimits:     "limits",
}

// String returns the rule's word.
func (n RuleName) String() string {
	if n >= ruleCount {
		return ""
	}
	return ruleWords[n]
}

// check runs the rules in order. It returns the decision, and the rule that
// decided: the first rule that fails, or RuleExpiry if grace forgives the
// expiry. If all rules pass, the rule is ruleCount. Every request pays for
// check, so it is one plain function.
func check(now Time, key *Key, r *Request, rules Rules) (RuleName, Decision) {
	if rule, reason := checkRequest(r); reason != Undecided {
		return rule, Decision{Reason: reason}
	}
	if rule, reason := checkKey(now, key, r.Client); reason != Undecided {
		return rule, Decision{Reason: reason}
	}
	if r.PathAccount != "" && r.PathAccount != key.AccountID {
		return RulePath, Decision{Reason: OperationUnlisted}
	}
	if r.Token != nil && r.Token.Expired(now) {
		return RuleExpiry, Decision{Reason: KeyExpired}
	}
	if key.Expires.Passed(now) {
		until, lack := checkGrace(now, key, r, rules.Grace)
		if lack != lacksNothing {
			return RuleExpiry, Decision{Reason: KeyExpired}
		}
		return RuleExpiry, Decision{Reason: AllowedByGrace, GraceUntil: until}
	}
	switch {
	case r.namesJob() && r.Job == nil && !rules.UnrecordedJobs:
		return RuleJob, Decision{Reason: JobUnknown}
	case r.namesJob() && r.Job != nil && r.Job.AccountID != key.AccountID:
		return RuleJob, Decision{Reason: JobForeign}
	case r.Operation == IssueKey && !key.Issuable, r.mintsByToken():
		return RuleIssuance, Decision{Reason: NoIssuanceRight}
	}
	if limit, byAccount := key.limitMet(r); limit != NoLimit {
		return RuleLimits, Decision{Reason: limit.Reason(), Limit: limit, ByAccount: byAccount}
	}
	return ruleCount, Decision{Reason: Allowed}
}

// checkRequest runs the rules that need no key.
func checkRequest(r *Request) (RuleName, Reason) {
	switch {
	case r.Operation == Unlisted || r.Operation >= operationCount:
		return RuleOperation, OperationUnlisted
	case r.EarlyData:
		return RuleEarlyData, EarlyData
	}
	return ruleCount, Undecided
}

// checkKey runs the rules from RuleKey to RuleAddress: the key exists, its account is
// open and not suspended, the key is neither revoked, suspended nor deleted, and it may
// be used from the client's address. It returns the first rule that fails, with the
// reason. If all these rules pass, it returns ruleCount and Undecided.
func checkKey(now Time, key *Key, client netip.Addr) (RuleName, Reason) {
	switch {
	case key == nil || now < key.CreatedAt:
		return RuleKey, KeyUnknown
	case !key.AccountOpen:
		return RuleAccount, AccountClosed
	case key.AccountSuspended:
		return RuleAccount, AccountSuspended
	case !key.RevokedSince(now).IsZero():
		return RuleRevocation, KeyRevoked
	case !key.SuspendedAt.IsZero():
		return RuleRevocation, KeySuspended
	case !key.DeletedAt.IsZero():
		return RuleDeletion, KeyDeleted
	case key.Allow.Any():
		return ruleCount, Undecided
	case !client.IsValid():
		return RuleAddress, AddressUnknown
	case !key.Allow.Contains(client):
		return RuleAddress, AddressRefused
	}
	return ruleCount, Undecided
}

// mintsByToken reports whether the client has shown a token to get a key or another token.
func (r *Request) mintsByToken() bool {
	return r.Token != nil && (r.Operation == IssueKey || r.Operation == Mint)
}

// limitMet returns the limit that the request would exceed, and whether it is a limit of the
// key's account.
func (k *Key) limitMet(r *Request) (n LimitName, byAccount bool) {
	switch {
	case !r.Operation.Limited():
		return NoLimit, false
	case !k.Limits.Operations.Allows(r.Operation):
		return LimitOperations, false
	case !k.AccountLimits.Operations.Allows(r.Operation):
		return LimitOperations, true
	}
	return r.Met, r.MetByAccount
}

func (r *Request) namesJob() bool { return r.Operation == ReadJob || r.Operation == DeleteJob }

// graceLack names the condition of grace that a request does not meet.
type graceLack uint8

const (
	lacksNothing graceLack = iota
	lacksReading           // the request does not read a job
	lacksJob               // the job is not recorded
	lacksCreator           // another key created the job
	lacksWindow            // the gate gives no grace
	lacksTime              // the grace window has ended
)

// checkGrace checks whether the grace window applies. Grace lets an expired key
// read the jobs that it created, and nothing else.
func checkGrace(now Time, key *Key, r *Request, grace Grace) (until Time, lack graceLack) {
	j := r.Job
	switch {
	case r.Operation != ReadJob:
		return 0, lacksReading
	case j == nil:
		return 0, lacksJob
	case j.KeyID != key.ID || j.AccountID != key.AccountID:
		return 0, lacksCreator
	case grace.Window <= 0: // also if the job was recorded by a clock ahead of ours
		return 0, lacksWindow
	}
	until = grace.Until(j)
	if now >= until {
		return until, lacksTime
	}
	return until, lacksNothing
}
