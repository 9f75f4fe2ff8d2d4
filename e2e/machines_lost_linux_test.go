package e2e_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/netnstest"
)

// A primary that waits for no standby acknowledges what only it has. If the standby takes its place, the
// site loses what was acknowledged since the standby had the last word. All gateways agree on what is left.
func TestMachines_WhatAPromotionLosesWithoutWaitingForTheStandby(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, g := t.Context(), s.gateways
	account, err := g[0].createAccount(ctx, "account")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(at *siteGateway) *siteKey {
		t.Helper()
		k := &siteKey{account: account}
		if k.id, k.secret, err = at.issueKey(ctx, account); err == nil {
			k.job, err = at.createJob(ctx, k.secret)
		}
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	kept, revoked := issue(g[0]), issue(g[1])
	s.standby.CatchUp(t)

	// The standby falls behind. The primary goes on, and so do the gateways.
	s.network.Link(s.databases[0], s.databases[1], netnstest.Cut)
	lost := issue(g[2])
	if err := g[0].revokeKey(ctx, revoked.id); err != nil {
		t.Fatal(err)
	}
	want := func(when string, k *siteKey, status int) {
		t.Helper()
		for _, at := range g {
			s.eventually(when+": "+at.name+" answers as the database says", func() bool {
				got, err := at.poll(ctx, k.job, k.secret)
				return err == nil && got == status
			})
		}
	}
	want("before", kept, http.StatusOK)
	want("before", lost, http.StatusOK)
	want("before", revoked, http.StatusUnauthorized)

	begun := time.Now()
	s.databases[0].SetUp(t, false)
	s.standby.Promote(t)
	s.give(s.databases[1])
	want("after", lost, http.StatusUnauthorized) // nobody has issued it
	want("after", revoked, http.StatusOK)        // nobody has revoked it
	want("after", kept, http.StatusOK)
	t.Logf("the gateways agree %s after the primary was gone: they have lost a key, a job and a revocation", time.Since(begun).Round(time.Millisecond))
	if err := g[1].revokeKey(ctx, revoked.id); err != nil {
		t.Fatal(err)
	}
	want("after the revocation was repeated", revoked, http.StatusUnauthorized)
}
