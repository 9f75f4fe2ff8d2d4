package issuance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/internal/throttle"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// BackendName is in the place of a backend's name in the metrics, the log and the
// explanations of the issuance API, which has no backend. No gate can have this name.
const BackendName = "issuance"

// Settings say which keys can be issued.
type Settings struct {
	// DefaultLifetime is the lifetime of a key if the request asks for none.
	DefaultLifetime time.Duration
	// MaxLifetime is the longest lifetime that a request can ask for; 0 means no
	// limit.
	MaxLifetime time.Duration
	// Zone is the time zone of an expiry that names no time zone.
	Zone *time.Location
	// FreeChildren lets a child key outlive its issuer, be used from addresses that its
	// issuer may not be used from, and have other limits.
	FreeChildren bool
	// MaxLiveKeys is how many live keys from this API an account may have. A live key is
	// one that has not ended. 0 means no limit.
	MaxLiveKeys int
	// MaxRate is how many keys per second an account may get on average. It may get the
	// keys of 100 seconds at once. 0 means no limit.
	MaxRate int
}

const (
	// failuresAllowed is how many failing requests of one address get the refusal for their
	// own reason in a minute. Requests that do not fail are not counted and never have to wait.
	failuresAllowed = 30
	// throttledAddresses is how many addresses are remembered.
	throttledAddresses = 16_384
)

// Store is the part of the keystore that the API needs.
type Store interface {
	FindKey(ctx context.Context, secret policy.Secret) (keystore.Record, error)
	FindService(ctx context.Context, now policy.Time, serviceID string, password policy.Secret) (policy.Account, error)
	IssueKey(ctx context.Context, now policy.Time, by keystore.Actor, k keystore.NewKey) (policy.Key, policy.Secret, error)
	LiveKeys(ctx context.Context, accountID string, now policy.Time, most int) (int, error)
	NoteUse(r *keystore.Record, now policy.Time)
}

// Authority answers requests for keys. It is safe for concurrent use.
type Authority struct {
	settings Settings
	failures *throttle.Throttle[netip.Prefix] // by the network of the client; all unknown addresses count together
	quota    *quota
}

// New returns an Authority with these settings.
func New(settings Settings) *Authority {
	return &Authority{
		settings: settings,
		failures: throttle.New[netip.Prefix](throttle.Rule{Failures: failuresAllowed, Window: time.Minute, Keys: throttledAddresses}),
		quota:    newQuota(settings.MaxLiveKeys, settings.MaxRate, quotaAccounts),
	}
}

// Failures returns what counts the calls without valid credentials, so that several gateways count
// together. The function name returns the name by which the gateways call a network. Call it before
// the first call of Issue.
func (a *Authority) Failures(name func(network string) string) share.Source {
	return a.failures.Named(func(network netip.Prefix) string { return name(network.String()) })
}

// caller is an authenticated caller.
type caller struct {
	account string
	key     *policy.Key // nil if the caller sent a service ID and a service password
}

// Issue answers a request that arrived from client at now. The argument earlyData is true
// if the request came as TLS early data, which does not prove the client's address.
//
// All callers without valid credentials get the same refusal, whatever is wrong with their
// credentials. An address gets at most 30 of these refusals in a minute. After that, it
// gets the answer that it must wait, with the status 429. Callers with valid credentials
// never get this answer, even at the same address.
func (a *Authority) Issue(ctx context.Context, now policy.Time, client netip.Addr, earlyData bool, store Store, req *KeyRequest) *Result {
	if earlyData {
		return refusal(http.StatusTooEarly, policy.EarlyData, "The call came as TLS early data, which anybody can repeat: send it again.")
	}
	who, result := a.authenticate(ctx, now, client, store, req)
	if result == nil {
		result = a.issue(ctx, now, client, store, req, who)
	}
	if result.Status != http.StatusUnauthorized {
		return result
	}
	if wait := a.failures.Fail(policy.NetworkOf(client), now); wait > 0 {
		return throttled(result, wait)
	}
	return result
}

// throttled returns the answer with the status 429 that replaces a refusal of invalid
// credentials. The argument wait is the time for the client to wait, in seconds.
func throttled(replaced *Result, wait int) *Result {
	result := refusal(http.StatusTooManyRequests, policy.Throttled,
		fmt.Sprintf("Too many calls from your address came without valid credentials: wait %d seconds. Calls with valid ones are answered all the same.", wait))
	result.RetryAfter = wait
	result.Detail = "would be " + replaced.Reason.String()
	result.KeyID, result.AccountID = replaced.KeyID, replaced.AccountID
	return result
}

// authenticate returns the caller, or the refusal of a caller who cannot be
// authenticated.
func (a *Authority) authenticate(ctx context.Context, now policy.Time, client netip.Addr, store Store, req *KeyRequest) (caller, *Result) {
	switch {
	case req.fault != nil:
		return caller{}, req.fault
	case req.key.Empty():
		return authenticateService(ctx, now, store, req)
	}
	return authenticateKey(ctx, now, client, store, req)
}

func authenticateService(ctx context.Context, now policy.Time, store Store, req *KeyRequest) (caller, *Result) {
	account, err := store.FindService(ctx, now, req.serviceID, req.password)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return caller{}, unauthorized(policy.KeyUnknown, "no account has this service ID and service password")
	case err != nil:
		return caller{}, Unavailable(err)
	case !account.Open():
		result := unauthorized(policy.AccountClosed, "")
		result.AccountID = account.ID
		return caller{}, result
	case !account.SuspendedAt.IsZero():
		result := unauthorized(policy.AccountSuspended, "")
		result.AccountID = account.ID
		return caller{}, result
	}
	return caller{account: account.ID}, nil
}

func authenticateKey(ctx context.Context, now policy.Time, client netip.Addr, store Store, req *KeyRequest) (caller, *Result) {
	record, err := store.FindKey(ctx, req.key)
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
	result := Refusal(decision.Reason)
	if key != nil {
		result.KeyID, result.AccountID = key.ID, key.AccountID
		if why := policy.NotYet(now, key); why != "" {
			result.Detail = why
		}
	}
	return caller{}, result
}

// issue issues the key that an authenticated caller asks for.
func (a *Authority) issue(ctx context.Context, now policy.Time, client netip.Addr, store Store, req *KeyRequest, who caller) *Result {
	by := keystore.Actor{Kind: keystore.ActorAccount, ID: who.account, From: client}
	k := keystore.NewKey{AccountID: who.account, Origin: policy.OriginAPI}
	if who.key == nil {
		// The service ID can be rotated before the key is written. If it is, the keystore
		// refuses the new key.
		k.ServiceID = req.serviceID
	} else {
		k.Issuer, k.OutlivesIssuer = who.key.ID, a.settings.FreeChildren
		by.Kind, by.ID = keystore.ActorKey, k.Issuer
	}
	result := a.fillIn(now, req, who, &k)
	if result == nil {
		result = a.withinQuota(ctx, now, store, k.AccountID)
	}
	if result == nil {
		result = create(ctx, now, by, store, k)
	}
	result.KeyID, result.AccountID = k.Issuer, k.AccountID
	return result
}

// fillIn sets the expiry, the addresses and the limits of k to what the request asks for. It
// returns a refusal if they cannot be read, or if the caller may not have them.
func (a *Authority) fillIn(now policy.Time, req *KeyRequest, who caller, k *keystore.NewKey) *Result {
	var err error
	if k.Expires, err = a.expiry(now, req.epi, who); err != nil {
		return badRequest(req, err.Error())
	}
	if k.Allow, err = policy.ParseAddrSet(req.ipa); err != nil {
		return badRequest(req, "ipa: "+shortened(err.Error()))
	}
	if k.Allow.Any() && req.ipa != "" {
		return badRequest(req, "ipa: there is nothing but space in it: want addresses, or no ipa for a key that is valid from any address")
	}
	if n := len(k.Allow.Entries()); n > maxAddresses {
		return badRequest(req, fmt.Sprintf("ipa: it has %d entries: want %d at most, such as a block in place of its addresses", n, maxAddresses))
	}
	if k.Limits, err = policy.ParseLimits(req.limits); err != nil {
		return badRequest(req, "limits: "+shortened(err.Error()))
	}
	issuer := a.boundTo(who)
	if issuer == nil {
		return nil
	}
	k.Limits = k.Limits.Inherit(issuer.Limits)
	if k.Allow.Any() {
		k.Allow = issuer.Allow
	}
	if err := cmp.Or(policy.CheckChild(issuer, k.Expires, k.Allow), policy.CheckChildLimits(issuer, k.Limits)); err != nil {
		result := badRequest(req, "The key is not issued: "+err.Error())
		result.Status, result.Reason = http.StatusForbidden, policy.NoIssuanceRight
		return result
	}
	return nil
}

// maxAddresses limits the entries of ipa: the keystore stores every entry with the
// key, and a second time in the audit trail.
const maxAddresses = 100

// shortened cuts an error text after 400 bytes: the text can repeat a part of the request.
func shortened(text string) string {
	const most = 400
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// boundTo returns the caller's key if the new key may not outlive it or have other
// addresses. Otherwise it returns nil.
func (a *Authority) boundTo(who caller) *policy.Key {
	if a.settings.FreeChildren {
		return nil
	}
	return who.key
}

// expiry returns the expiry that the form field epi asks for. If epi is empty, the key gets
// the default lifetime, or the rest of its issuer's lifetime if that is shorter.
func (a *Authority) expiry(now policy.Time, epi string, who caller) (policy.Expiry, error) {
	if epi == "" {
		expires := policy.ExpiresAt(now.Add(a.settings.DefaultLifetime))
		if issuer := a.boundTo(who); issuer != nil && expires.After(issuer.End()) {
			expires = issuer.End()
		}
		return expires, nil
	}
	at, err := ParseExpiry(epi, now, a.settings.Zone, a.settings.MaxLifetime)
	return policy.ExpiresAt(at), err
}

// withinQuota counts a key for the account. It returns a refusal if the account has used up
// its quota, and nil otherwise.
func (a *Authority) withinQuota(ctx context.Context, now policy.Time, store Store, account string) *Result {
	over, err := a.quota.take(ctx, now, store, account)
	if err != nil {
		return Unavailable(err)
	}
	if over == (excess{}) {
		return nil
	}
	text := fmt.Sprintf("The key is not issued: your account may have keys issued at %d a second, and %d at once: wait %d seconds.",
		a.settings.MaxRate, a.settings.MaxRate*burstSeconds, over.retryAfter)
	if over.live > 0 {
		text = fmt.Sprintf("The key is not issued: your account has %d keys from here that have not expired, and may have no more: wait until some expire, and ask for shorter lifetimes.", over.live)
	}
	result := refusal(http.StatusTooManyRequests, policy.LimitReached, text)
	result.RetryAfter = over.retryAfter
	return result
}

func create(ctx context.Context, now policy.Time, by keystore.Actor, store Store, k keystore.NewKey) *Result {
	// If the caller goes away before the answer arrives, nobody knows the key, and
	// it expires unused.
	key, secret, err := store.IssueKey(ctx, now, by, k)
	switch {
	case errors.Is(err, keystore.ErrAccountClosed):
		return unauthorized(policy.AccountClosed, err.Error())
	case errors.Is(err, keystore.ErrAccountSuspended):
		return unauthorized(policy.AccountSuspended, err.Error())
	case errors.Is(err, keystore.ErrInvalid), errors.Is(err, keystore.ErrNotFound): // the caller's key or service ID has ended after the check
		return unauthorized(policy.KeyRevoked, err.Error())
	case err != nil:
		return Unavailable(err)
	}
	return &Result{Status: http.StatusOK, Reason: policy.Allowed, Secret: secret, Key: key, Detail: strings.Join(k.Allow.Warnings(), "; ")}
}
