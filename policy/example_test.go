package policy_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// at returns an instant of 3 February 2031.
func at(hour, minute int) policy.Time {
	return policy.At(time.Date(2031, time.February, 3, hour, minute, 0, 0, time.UTC))
}

// A key that has expired may still read the jobs that it created, and do nothing
// else.
func ExampleDecide() {
	key := &policy.Key{ID: "key_1", AccountID: "acc_1", AccountOpen: true, CreatedAt: at(9, 0), Expires: policy.ExpiresAt(at(10, 0))}
	job := &policy.Job{ID: "job_1", AccountID: "acc_1", KeyID: "key_1", CreatedAt: at(9, 50)}
	rules := policy.Rules{Grace: policy.Grace{Window: time.Hour}}

	recognize := &policy.Request{Operation: policy.Recognize, Client: netip.MustParseAddr("192.0.2.7")}
	poll := &policy.Request{Operation: policy.ReadJob, Client: netip.MustParseAddr("192.0.2.7"), Job: job}

	fmt.Println(policy.Decide(at(9, 30), key, recognize, rules).Reason)
	fmt.Println(policy.Decide(at(10, 30), key, recognize, rules).Reason)
	decision := policy.Decide(at(10, 30), key, poll, rules)
	fmt.Println(decision.Reason, "until", decision.GraceUntil)
	fmt.Println(policy.Decide(at(11, 0), key, poll, rules).Reason)
	// Output:
	// allowed
	// key_expired
	// allowed_by_grace until 2031-02-03T10:50:00.000Z
	// key_expired
}

// Explain says what each rule says. The first rule that fails decides.
func ExampleExplain() {
	allow, err := policy.ParseAddrSet("192.0.2.0/24")
	if err != nil {
		fmt.Println(err)
		return
	}
	key := &policy.Key{ID: "key_1", AccountID: "acc_1", AccountOpen: true, CreatedAt: at(9, 0), Expires: policy.Never(), Allow: allow}
	request := &policy.Request{Operation: policy.Recognize, Client: netip.MustParseAddr("198.51.100.7")}

	results, decision := policy.Explain(at(9, 30), key, request, policy.Rules{})
	for _, result := range results {
		if result.Outcome == policy.OutcomeRefused {
			fmt.Printf("%v: %s\n", result.Rule, result.Why)
		}
	}
	fmt.Println(decision.Reason)
	// Output:
	// address: The client's address, 198.51.100.7, is not among those that the key may be used from: 192.0.2.0/24.
	// address_refused
}

func ExampleParseAddrSet() {
	set, err := policy.ParseAddrSet("192.0.2.7, 2001:DB8::/32 10.0.0.1-10.0.0.9")
	fmt.Println(set, err)
	fmt.Println(set.Contains(netip.MustParseAddr("10.0.0.5")))
	fmt.Println(set.Contains(netip.MustParseAddr("::ffff:10.0.0.5"))) // IPv4 mapped into IPv6
	fmt.Println(set.Contains(netip.MustParseAddr("10.0.0.10")))

	_, err = policy.ParseAddrSet("192.0.2.7/24")
	fmt.Println(err)
	// Output:
	// 192.0.2.7,2001:db8::/32,10.0.0.1-10.0.0.9 <nil>
	// true
	// true
	// false
	// address "192.0.2.7/24": bits are set beyond the block's length: want 192.0.2.0/24 for the block, or 192.0.2.7 for the one address
}

// The grace for a job ends with the window after its creation, or earlier if the
// job has ended.
func ExampleGrace_Until() {
	grace := policy.Grace{Window: 24 * time.Hour, AfterEnd: 30 * time.Minute}
	job := &policy.Job{CreatedAt: at(9, 0)}
	fmt.Println(grace.Until(job))
	job.State, job.EndedAt = policy.JobCompleted, at(9, 10)
	fmt.Println(grace.Until(job))
	// Output:
	// 2031-02-04T09:00:00.000Z
	// 2031-02-03T09:40:00.000Z
}
