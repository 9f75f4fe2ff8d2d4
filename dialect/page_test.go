package dialect_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// AmiVoice's answers are on the page of the reasons.
func TestThePageHasTheAnswersOfEveryDialect(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/dialects.md")
	if err != nil {
		t.Fatal(err)
	}
	columns := []policy.Reason{
		policy.CredentialMissing, policy.KeyUnknown, policy.AddressRefused, policy.OperationUnlisted,
		policy.RequestMalformed, policy.LimitReached, policy.StoreUnavailable, policy.UpstreamRefused,
	}
	_, table, ok := strings.Cut(string(page), "\n| API | `"+columns[0].String()+"`")
	table, _, _ = strings.Cut(table, "\n\n")
	if !ok {
		t.Fatal("the page has no table of answers")
	}
	code := regexp.MustCompile("`([^`]+)`")
	rows := make(map[string][]string)
	for line := range strings.SplitSeq(table, "\n") {
		if cells := strings.Split(strings.Trim(line, "| "), "|"); len(cells) == len(columns)+1 {
			rows[strings.Trim(cells[0], "` ")] = cells[1:]
		}
	}
	for _, name := range dialect.Names() {
		if !strings.Contains(string(page), "\n## "+name+"\n") {
			t.Errorf("%s has no section", name)
		}
		api, _ := dialect.ByName(name)
		if api == dialect.AmiVoice {
			continue
		}
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row in the table of answers", name)
			continue
		}
		for i, reason := range columns {
			call := dialect.Call{Operation: api.Routes[0].Operation, Route: &api.Routes[0]}
			if reason == policy.OperationUnlisted {
				call = dialect.Call{}
			}
			answer := api.Refusal(call, reason)
			if !strings.HasPrefix(strings.TrimSpace(row[i]), strconv.Itoa(answer.Status)) {
				t.Errorf("%s, %v: the page has %q, the gate answers with %d", name, reason, row[i], answer.Status)
			}
			for _, word := range code.FindAllStringSubmatch(row[i], -1) {
				if !strings.Contains(answer.Body, word[1]) {
					t.Errorf("%s, %v: the page has %q, the gate answers with %s", name, reason, word[1], answer.Body)
				}
			}
		}
	}
}
