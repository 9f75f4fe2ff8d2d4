package dialect_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

func TestR16_AStreamsRefusalsLookLikeTheBackends(t *testing.T) {
	t.Parallel()
	rules := dialect.AmiVoice.Commands()
	for _, reason := range append(refusals(), policy.Undecided, policy.Reason(200)) {
		want := "s received illegal service authorization"
		switch reason {
		case policy.StoreUnavailable, policy.UpstreamRefused, policy.LimitReached, policy.StreamLimit, policy.StreamTooLong, policy.CutByOperator:
			want = "s can't connect to recognizer server"
		case policy.RequestMalformed:
			want = "s received unreadable request"
		}
		if got := rules.Refusal(reason); got != want {
			t.Errorf("%v: %q, want %q", reason, got, want)
		}
	}
	want := dialect.CommandRules{
		Start: "s", Pair: "authorization", End: "e", Audio: 'p', Started: "s", Failed: "p", Ended: "e",
		KeyRefused: []string{"authorization", "appkey", "api key"},
		Gateway:    "can't connect to recognizer server",
		Denied:     "received illegal service authorization", By: rules.By,
		CutText:  "p can't feed audio data to recognizer server",
		TimedOut: "e timeout occurred",
	}
	if got := rules.Unreachable(); got != "s can't connect to recognizer server" {
		t.Errorf("where the backend opens no stream: %q", got)
	}
	if diff := cmp.Diff(want, *rules); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEveryDialectsStreamCanBeRun also covers future dialects.
func TestEveryDialectsStreamCanBeRun(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		rules := api.Commands()
		if rules == nil {
			continue
		}
		for _, word := range []string{rules.Start, rules.Pair, rules.End, rules.Started, rules.Failed, rules.Ended} {
			if word == "" || strings.ContainsAny(word, " =\"") {
				t.Errorf("%s: %q is no word", name, word)
			}
		}
		if rules.Start == rules.End || rules.Ended == rules.Started || rules.Ended == rules.Failed || rules.Started == rules.Failed {
			t.Errorf("%s: two commands or two answers cannot be told apart", name)
		}
		if rules.Pair != strings.ToLower(rules.Pair) {
			t.Errorf("%s: names are compared in lower case, and %q is not", name, rules.Pair)
		}
		if rules.Audio == 0 || rules.Denied == "" || !strings.HasPrefix(rules.CutText, rules.Failed+" ") {
			t.Errorf("%s: %+v lacks a message, or the byte of audio", name, rules)
		}
		if rules.Gateway == "" || rules.TimedOut == "" || len(rules.KeyRefused) == 0 {
			t.Errorf("%s: %+v lacks a message, or what tells that a key is refused", name, rules)
		}
		for _, word := range rules.KeyRefused {
			answer := strings.ToLower(rules.Unreachable() + rules.Refusal(policy.RequestMalformed) + rules.TimedOut)
			if word == "" || word != strings.ToLower(word) || strings.Contains(answer, word) {
				t.Errorf("%s: %q does not tell that a key is refused", name, word)
			}
		}
	}
}
