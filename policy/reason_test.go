package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/policy"
)

// allReasons is the closed set of reasons, in order. Logs, metrics and documents
// show these words, so a word never changes.
var allReasons = []string{
	"allowed", "allowed_by_grace", "credential_missing", "credential_ambiguous", "credential_malformed",
	"key_unknown", "key_expired", "key_deleted", "key_revoked", "account_closed", "address_refused",
	"address_unknown", "early_data", "operation_unlisted", "job_unknown", "job_foreign",
	"no_issuance_right", "throttled", "store_unavailable", "request_malformed", "upstream_refused",
	"limit_reached", "stream_limit", "stream_too_long", "cut_by_operator",
	"key_suspended", "account_suspended", "operation_refused",
}

func TestReasons_areAClosedSetInOrder(t *testing.T) {
	t.Parallel()
	var words []string
	for _, r := range policy.Reasons() {
		words = append(words, r.String())
	}
	if diff := cmp.Diff(allReasons, words); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

func TestReasons_everyValueHasOneWordOrIsUndecided(t *testing.T) {
	t.Parallel()
	of := map[string]int{}
	for r := range 256 {
		of[policy.Reason(r).String()]++
	}
	for _, word := range allReasons {
		if of[word] != 1 {
			t.Errorf("%d values print as %q, want one", of[word], word)
		}
	}
	if want := 256 - len(allReasons); of["undecided"] != want {
		t.Errorf("%d values print as undecided, want the other %d", of["undecided"], want)
	}
}

func TestR17_OnlyTheTwoAllowancesAreOK(t *testing.T) {
	t.Parallel()
	for i := range 256 {
		r := policy.Reason(i)
		want := r == policy.Allowed || r == policy.AllowedByGrace
		if r.OK() != want {
			t.Errorf("Reason(%d) %v: OK is %v, want %v", i, r, r.OK(), want)
		}
	}
}

func TestOperations_haveTheirWords(t *testing.T) {
	t.Parallel()
	want := map[policy.Operation]string{
		policy.Unlisted: "unlisted", policy.Recognize: "recognize", policy.CreateJob: "create_job",
		policy.ReadJob: "read_job", policy.DeleteJob: "delete_job", policy.Stream: "stream",
		policy.ListJobs: "list_jobs", policy.Info: "info", policy.Mint: "mint", policy.IssueKey: "issue_key",
		policy.Upload: "upload",
	}
	seen := map[string]bool{}
	for i := range 256 {
		o := policy.Operation(i)
		word, ok := want[o]
		if !ok {
			word = "unlisted"
		}
		if o.String() != word {
			t.Errorf("Operation(%d) prints %q, want %q", i, o, word)
		}
		seen[o.String()] = true
	}
	if len(seen) != len(want) {
		t.Errorf("%d words for %d operations", len(seen), len(want))
	}
}
