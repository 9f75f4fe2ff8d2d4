package issuance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Settings say what keys may be had.
type Settings struct {
	// DefaultLifetime is that of a key of which none was asked.
	DefaultLifetime time.Duration
	// MaxLifetime is the longest that can be asked; 0 is any.
	MaxLifetime time.Duration
	// Zone is that of times that do not say theirs.
	Zone *time.Location
	// FreeChildren lets a key issue others that outlive it, or are good from
	// where it is not.
	FreeChildren bool
	// MaxLiveKeys is how many keys from this API an account may have that have not
	// ended; 0 is any number.
	MaxLiveKeys int
	// MaxRate is how many keys a second an account may have issued over time; 100
	// seconds' worth may come at once. 0 is any number.
	MaxRate int
}

// Keystore is what the API needs of a keystore.
type Keystore interface {
	FindKey(ctx context.Context, secret policy.Secret) (keystore.Record, error)
	FindService(ctx context.Context, serviceID string, password policy.Secret) (policy.Account, error)
	IssueKey(ctx context.Context, now policy.Time, by keystore.Actor, k keystore.NewKey) (policy.Key, policy.Secret, error)
	LiveKeys(ctx context.Context, accountID string, now policy.Time, most int) (int, error)
	NoteUse(r *keystore.Record, now policy.Time)
}

// API answers calls. It may be used concurrently.
type API struct {
	settings Settings
	failures *throttle
	quota    *quota
}

// New returns an API with these settings.
func New(settings Settings) *API {
	return &API{
		settings: settings,
		failures: newThrottle(throttledAddresses),
		quota:    newQuota(settings.MaxLiveKeys, settings.MaxRate, quotaAccounts),
	}
}

// Answer is what becomes of a call.
type Answer struct {
	Status     int
	Text       string // one line for people; empty where a key was issued
	RetryAfter int    // in seconds; 0 for none
	Challenge  bool   // whether the status asks for WWW-Authenticate

	Secret policy.Secret // the key
	Key    policy.Key    // and all else about it

	// What the operator learns of it.
	Reason    policy.Reason
	Detail    string
	KeyID     string // of the key that called
	AccountID string // whose call it was, once that is known
}

// caller is who calls, once that is known.
type caller struct {
	account string
	key     *policy.Key // by which; nil for service ID and password
}

// Issue answers a call that came from client at now. EarlyData says that TLS has
// not proved that it did.
//
// A caller without valid credentials is refused in one way, whatever is wrong
// with them. Of such calls each address has 30 a minute, and further ones are told
// to wait. No other call is, whoever else calls from that address.
func (a *API) Issue(ctx context.Context, now policy.Time, client netip.Addr, earlyData bool, store Keystore, call *Call) *Answer {
	if earlyData {
		return refusal(http.StatusTooEarly, policy.EarlyData, "The call came as TLS early data, which anybody can repeat: send it again.")
	}
	who, answer := a.authenticate(ctx, now, client, store, call)
	if answer == nil {
		answer = a.issue(ctx, now, client, store, call, who)
	}
	if answer.Status != http.StatusUnauthorized {
		return answer
	}
	if wait := a.failures.fail(client, now); wait > 0 {
		return throttled(answer, wait)
	}
	return answer
}

// throttled stands in the place of one unauthorized answer too many.
func throttled(instead *Answer, wait int) *Answer {
	answer := refusal(http.StatusTooManyRequests, policy.Throttled,
		fmt.Sprintf("Too many calls from your address came without valid credentials: wait %d seconds. Calls with valid ones are answered all the same.", wait))
	answer.RetryAfter = wait
	answer.Detail = "would be " + instead.Reason.String()
	answer.KeyID, answer.AccountID = instead.KeyID, instead.AccountID
	return answer
}

// authenticate says who calls, or what to answer.
func (a *API) authenticate(ctx context.Context, now policy.Time, client netip.Addr, store Keystore, call *Call) (caller, *Answer) {
	switch {
	case call.fault != nil:
		return caller{}, call.fault
	case call.key.Empty():
		return authenticateService(ctx, store, call)
	}
	return authenticateKey(ctx, now, client, store, call)
}

func authenticateService(ctx context.Context, store Keystore, call *Call) (caller, *Answer) {
	account, err := store.FindService(ctx, call.serviceID, call.password)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return caller{}, unauthorized(policy.KeyUnknown, "no account has this service ID and service password")
	case err != nil:
		return caller{}, Unavailable(err)
	case !account.Open():
		answer := unauthorized(policy.AccountClosed, "")
		answer.AccountID = account.ID
		return caller{}, answer
	}
	return caller{account: account.ID}, nil
}

func authenticateKey(ctx context.Context, now policy.Time, client netip.Addr, store Keystore, call *Call) (caller, *Answer) {
	record, err := store.FindKey(ctx, call.key)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return caller{}, Unavailable(err)
	}
	var key *policy.Key
	if record.Found() {
		found := record.Key()
		key = &found
	}
	decision := policy.Decide(now, key, &policy.Request{Operation: policy.IssueKey, Client: client}, policy.Rules{})
	if decision.Reason.OK() {
		store.NoteUse(&record, now)
		return caller{account: key.AccountID, key: key}, nil
	}
	answer := Refusal(decision.Reason)
	if key != nil {
		answer.KeyID, answer.AccountID = key.ID, key.AccountID
		if why := policy.NotYet(now, key); why != "" {
			answer.Detail = why
		}
	}
	return caller{}, answer
}

// issue makes the key that a known caller asks for.
func (a *API) issue(ctx context.Context, now policy.Time, client netip.Addr, store Keystore, call *Call, who caller) *Answer {
	by := keystore.Actor{Kind: keystore.ActorAccount, ID: who.account, From: client}
	k := keystore.NewKey{AccountID: who.account, Origin: policy.OriginAPI}
	if who.key == nil {
		k.ServiceID = call.serviceID // which may be rotated before the key is made
	} else {
		k.Issuer, k.OutlivesIssuer = who.key.ID, a.settings.FreeChildren
		by.Kind, by.ID = keystore.ActorKey, k.Issuer
	}
	answer := a.ask(now, call, who, &k)
	if answer == nil {
		answer = a.withinQuota(ctx, now, store, k.AccountID)
	}
	if answer == nil {
		answer = create(ctx, now, by, store, k)
	}
	answer.KeyID, answer.AccountID = k.Issuer, k.AccountID
	return answer
}

// ask fills in what was asked for, or says what is wrong with it.
func (a *API) ask(now policy.Time, call *Call, who caller, k *keystore.NewKey) *Answer {
	var err error
	if k.Expires, err = a.expiry(now, call.epi, who); err != nil {
		return badRequest(call, err.Error())
	}
	if k.Allow, err = policy.ParseAddrSet(call.ipa); err != nil {
		return badRequest(call, "ipa: "+shortened(err.Error()))
	}
	if n := len(k.Allow.Entries()); n > maxAddresses {
		return badRequest(call, fmt.Sprintf("ipa: it has %d entries: want %d at most, such as a block in place of its addresses", n, maxAddresses))
	}
	issuer := a.bound(who)
	if issuer == nil {
		return nil
	}
	if k.Allow.Any() {
		k.Allow = issuer.Allow
	}
	if err := policy.CheckChild(issuer, k.Expires, k.Allow); err != nil {
		answer := badRequest(call, "The key is not issued: "+err.Error())
		answer.Status, answer.Reason = http.StatusForbidden, policy.NoIssuanceRight
		return answer
	}
	return nil
}

// maxAddresses bounds the entries of ipa: each is kept with the key, and in the
// audit trail.
const maxAddresses = 100

// shortened bounds what an error repeats of what was sent.
func shortened(text string) string {
	const most = 400
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// bound is the key whose own bounds are those of what it issues; nil where there
// are none.
func (a *API) bound(who caller) *policy.Key {
	if a.settings.FreeChildren {
		return nil
	}
	return who.key
}

// expiry reads epi. Where nothing is asked for, the default does not go beyond
// the bounds.
func (a *API) expiry(now policy.Time, epi string, who caller) (policy.Expiry, error) {
	if epi == "" {
		expires := policy.ExpiresAt(now.Add(a.settings.DefaultLifetime))
		if issuer := a.bound(who); issuer != nil && expires.After(issuer.End()) {
			expires = issuer.End()
		}
		return expires, nil
	}
	at, err := ParseExpiry(epi, now, a.settings.Zone, a.settings.MaxLifetime)
	return policy.ExpiresAt(at), err
}

// withinQuota refuses a key that is one too many for its account.
func (a *API) withinQuota(ctx context.Context, now policy.Time, store Keystore, account string) *Answer {
	over, err := a.quota.take(ctx, now, store, account)
	if err != nil {
		return Unavailable(err)
	}
	if over == (excess{}) {
		return nil
	}
	text := fmt.Sprintf("The key is not issued: your account may have keys issued at %d a second, and %d at once: wait %d seconds.",
		a.settings.MaxRate, a.settings.MaxRate*burstOf, over.retryAfter)
	if over.live > 0 {
		text = fmt.Sprintf("The key is not issued: your account has %d keys from here that have not expired, and may have no more: wait until some expire, and ask for shorter lifetimes.", over.live)
	}
	answer := refusal(http.StatusTooManyRequests, policy.LimitReached, text)
	answer.RetryAfter = over.retryAfter
	return answer
}

func create(ctx context.Context, now policy.Time, by keystore.Actor, store Keystore, k keystore.NewKey) *Answer {
	// A key that is made although the caller has gone is nobody's, and expires.
	key, secret, err := store.IssueKey(ctx, now, by, k)
	switch {
	case errors.Is(err, keystore.ErrUnavailable):
		return Unavailable(err)
	case errors.Is(err, keystore.ErrAccountClosed):
		return unauthorized(policy.AccountClosed, err.Error())
	case err != nil: // the caller's own key ended just now
		return unauthorized(policy.KeyRevoked, err.Error())
	}
	return &Answer{Status: http.StatusOK, Reason: policy.Allowed, Secret: secret, Key: key, Detail: strings.Join(k.Allow.Warnings(), "; ")}
}

// Refusal is the answer to a call by key that is refused for this reason.
func Refusal(reason policy.Reason) *Answer {
	switch reason {
	case policy.OperationUnlisted:
		return refusal(http.StatusMethodNotAllowed, reason, "Only POST issues a key.")
	case policy.CredentialMissing:
		answer := refusal(http.StatusUnauthorized, reason, "Credentials are missing: send sid and spw in the body, or a key that may issue keys as Authorization: Bearer.")
		answer.Challenge = true
		return answer
	case policy.NoIssuanceRight:
		return refusal(http.StatusForbidden, reason, "This key may not issue keys: it was issued without that right.")
	}
	return unauthorized(reason, "")
}

func refusal(status int, reason policy.Reason, text string) *Answer {
	return &Answer{Status: status, Reason: reason, Text: text, Detail: text}
}

// unauthorized is the one answer to callers who cannot be told.
func unauthorized(reason policy.Reason, detail string) *Answer {
	answer := refusal(http.StatusUnauthorized, reason, "The credentials are not valid: they are unknown or wrong, have ended, or may not be used from your address.")
	answer.Detail, answer.Challenge = detail, true
	return answer
}

// badRequest tells a known caller what is wrong, but for a text that holds a
// secret.
func badRequest(call *Call, text string) *Answer {
	text += "."
	for _, secret := range []policy.Secret{call.key, call.password} {
		if !secret.Empty() && strings.Contains(text+call.epi+" "+call.ipa, secret.Reveal()) || policy.HoldsSecret(text) {
			text = "The epi or ipa holds a credential: send a lifetime and addresses."
		}
	}
	return refusal(http.StatusBadRequest, policy.CredentialMalformed, text)
}

// Unavailable is the answer to every call while the keystore is at fault.
func Unavailable(err error) *Answer {
	answer := refusal(http.StatusServiceUnavailable, policy.StoreUnavailable, "No key can be issued at the moment: try again.")
	answer.Detail, answer.RetryAfter = err.Error(), 5
	return answer
}
