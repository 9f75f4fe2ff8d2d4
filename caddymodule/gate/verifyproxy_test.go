package gate

import (
	"net/http"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// No refusal of an API may have a status that a proxy takes for yes: AmiVoice's refusal of a
// recognition has the status 200.
func TestVerify_NoRefusalLetsARequestPass(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		calls := []dialect.Call{{}}
		for i := range api.Routes {
			calls = append(calls, dialect.Call{Operation: api.Routes[i].Operation, Route: &api.Routes[i]})
		}
		for _, call := range calls {
			for _, reason := range policy.Reasons() {
				if reason.OK() {
					continue
				}
				for i := range askingProxies {
					proxy := &askingProxies[i]
					got := proxy.refusalStatus(api.Refusal(call, reason).Status)
					if got < 400 || proxy.denials && got != http.StatusUnauthorized && got != http.StatusForbidden {
						t.Errorf("%s, %s, %s, %s: a refusal with status %d", name, call.Operation, reason, proxy.name, got)
					}
				}
			}
		}
	}
}

// A proxy can ask about every operation that needs nothing of the backend's answer, and about no
// other.
func TestVerify_WhatAProxyCannotAsk(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		for i := range api.Routes {
			route := &api.Routes[i]
			answerCounts := route.Edits != nil || route.Mint != nil
			switch route.Operation {
			case policy.CreateJob, policy.ListJobs, policy.Mint, policy.Upload:
				answerCounts = true
			default:
			}
			if needsAnswer(route) != answerCounts {
				t.Errorf("%s %s %s: needsAnswer is %v", name, route.Method, route.Path, !answerCounts)
			}
		}
		for _, place := range withoutBodies(api).Places {
			if place.Location == dialect.Part {
				t.Errorf("%s: a proxy can ask about a key in the part %s", name, place.Name)
			}
		}
	}
}
