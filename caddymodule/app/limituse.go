package app

import (
	"cmp"
	"context"
	"fmt"

	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// AudioMet returns the limit of audio that a key, or all keys of its account together, have used
// up at the instant at. The argument own has the limits of the key, and shared those of the
// account.
func (a *App) AudioMet(store *keystore.Store, owner policy.Identity, own, shared *policy.Limits, at policy.Time) (limits.Refusal, error) {
	met, err := a.audioMet(store, owner, own, at)
	if err == nil && met.Limit == policy.NoLimit {
		met, err = a.audioMet(store, policy.Identity{AccountID: owner.AccountID}, shared, at)
		met.ByAccount = met.Limit != policy.NoLimit
	}
	return met, err
}

// audioMet returns the limit of audio that a key, or an account if there is no KeyID, has used up.
func (a *App) audioMet(store *keystore.Store, of policy.Identity, l *policy.Limits, at policy.Time) (met limits.Refusal, err error) {
	if !l.Audio() {
		return met, nil
	}
	used, err := a.process.limits.AudioOf(cmp.Or(of.KeyID, of.AccountID), at, func() (limits.Audio, error) {
		// The request does not end the read: its result is for other requests too.
		today, total, err := store.AudioUsed(context.Background(), at, of)
		return limits.Audio{Today: today, Total: total}, err
	})
	if err != nil {
		return met, fmt.Errorf("reading how much audio was used: %w", err)
	}
	return used.Check(l, at), nil
}

// LimitUse returns a function for [manage.Manager]: it says how much of their limits a key and its
// account use at this server, and which limit one more request would exceed. Limits that are
// options of a gate do not count.
func (a *App) LimitUse(store *keystore.Store) func(context.Context, *policy.Key, policy.Operation) (manage.LimitUse, error) {
	return func(ctx context.Context, key *policy.Key, op policy.Operation) (use manage.LimitUse, err error) {
		at := a.Now()
		owner := policy.Identity{KeyID: key.ID, AccountID: key.AccountID}
		own, shared := a.useOf(key.ID, at), a.useOf(key.AccountID, at)
		own.Streams, shared.Streams = a.Streams().Count(owner)
		if key.Limits.Audio() {
			own.AudioDay, own.AudioTotal, err = store.AudioUsed(ctx, at, owner)
		}
		if key.AccountLimits.Audio() && err == nil {
			shared.AudioDay, shared.AudioTotal, err = store.AudioUsed(ctx, at, policy.Identity{AccountID: key.AccountID})
		}
		if err != nil {
			return use, err
		}
		met, err := a.limitMet(store, key, op, at) //nolint:contextcheck // the reading of what was used is for other requests too
		return manage.NewLimitUse(key, &own, &shared, met.Limit, met.ByAccount, met.RetryAfter), err
	}
}

// useOf returns what the key or account with this ID uses of what is counted for each.
func (a *App) useOf(id string, at policy.Time) manage.Use {
	use := a.process.limits.UseOf(id, at)
	return manage.Use{Requests: use.Requests, Concurrent: use.Concurrent}
}

// limitMet returns the limit that one more request for an operation would exceed, in the order in
// which a gate looks.
func (a *App) limitMet(store *keystore.Store, key *policy.Key, op policy.Operation, at policy.Time) (met limits.Refusal, err error) {
	if op == policy.Unlisted || !op.Limited() {
		return met, nil
	}
	owner := policy.Identity{KeyID: key.ID, AccountID: key.AccountID}
	if op.SendsAudio() {
		if met, err = a.AudioMet(store, owner, &key.Limits, &key.AccountLimits, at); err != nil || met.Limit != policy.NoLimit {
			return met, err
		}
	}
	kind := limits.Request
	if op == policy.Stream {
		kind = limits.Command
	}
	met = a.process.limits.Check(&limits.Subject{ID: key.ID, Limits: key.Limits}, &limits.Subject{ID: key.AccountID, Limits: key.AccountLimits}, kind, at)
	if met.Limit != policy.NoLimit || op != policy.Stream {
		return met, nil
	}
	switch a.Streams().Check(owner, int(key.Limits.Streams), int(key.AccountLimits.Streams)) {
	case livestream.KeyFull:
		met.Limit = policy.LimitStreams
	case livestream.AccountFull:
		met.Limit, met.ByAccount = policy.LimitStreams, true
	default:
	}
	return met, nil
}
