package policy

import "fmt"

// Finding is what one rule says of a request, and why.
type Finding struct {
	Rule    Rule
	Verdict Verdict
	Why     string // a sentence, with the values that count
}

// Explain is [Decide], with what every rule says on the way, in order.
func Explain(now Time, key *Key, r *Request) ([]Finding, Decision) {
	last, d := judge(now, key, r)
	findings := make([]Finding, 0, rules)
	for rule := RuleOperation; rule < rules; rule++ {
		switch {
		case rule > last:
			findings = append(findings, Finding{rule, NotReached, "It was decided before."})
		case rule == last && !d.Reason.OK():
			findings = append(findings, Finding{rule, Refused, rule.why(now, key, r, d.Reason)})
		case rule.applies(key, r):
			findings = append(findings, Finding{rule, Passed, rule.why(now, key, r, Undecided)})
		default:
			findings = append(findings, Finding{rule, NotApplicable, rule.why(now, key, r, Undecided)})
		}
	}
	return findings, d
}

// applies reports whether a rule that holds has something to say of such a
// request and key.
func (rule Rule) applies(key *Key, r *Request) bool {
	switch rule {
	case RuleAddress:
		return !key.Allow.Any()
	case RuleJob:
		return r.namesJob()
	case RulePath:
		return r.PathAccount != ""
	case RuleIssuance:
		return r.Operation == IssueKey
	default:
		return true
	}
}

// why says in a sentence what the rule's verdict rests on. The reason is that of
// a refusal, and Undecided where the rule holds.
func (rule Rule) why(now Time, key *Key, r *Request, reason Reason) string {
	switch rule {
	case RuleOperation:
		return choose(reason != Undecided, "It is none of the operations that the gate lets through.", "The operation is "+r.Operation.String()+".")
	case RuleEarlyData:
		return choose(reason != Undecided, "It came as TLS early data, which anybody may have recorded and sent again.", "It is not TLS early data.")
	case RuleKey:
		return whyKey(now, key)
	case RuleAccount:
		return "The key's account, " + key.AccountID + ", is " + choose(key.AccountOpen, "open.", "closed.")
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
		return whyExpiry(now, key, r)
	case RuleJob:
		return whyJob(key, r)
	case RulePath:
		return whyPath(key, r)
	default: // RuleIssuance
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

// whenever is said of what ends a key at any instant, even one before it.
func whenever(now, at Time) string {
	if now < at {
		return ", which counts at any instant"
	}
	return ""
}

func whyKey(now Time, key *Key) string {
	switch {
	case key == nil:
		return "There is no such key."
	case now < key.CreatedAt:
		return fmt.Sprintf("The key %s was issued at %s, which is later.", key.ID, key.CreatedAt)
	}
	return fmt.Sprintf("The key is %s, issued at %s.", key.ID, key.CreatedAt)
}

func whyRevocation(now Time, key *Key) string {
	since := key.RevokedSince(now)
	switch {
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

func whyExpiry(now Time, key *Key, r *Request) string {
	if at, ok := key.Expires.Time(); !ok {
		return "The key does not expire."
	} else if !key.Expires.Passed(now) {
		return fmt.Sprintf("The key expires at %s, which is later.", at)
	}
	until, lack := weighGrace(now, key, r)
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

func whyJob(key *Key, r *Request) string {
	switch {
	case !r.namesJob():
		return "It names no job."
	case r.Job == nil && r.UnrecordedJobs:
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
