package manage

import (
	"context"
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// StatusActive is the status of a key that can be used.
const StatusActive = "active"

// KeyStatuses returns the words for the status of a key.
func KeyStatuses() []string {
	return []string{StatusActive, statusSuspended, "expired", "deleted", "revoked"}
}

// statusSuspended is the status of a key that can be resumed.
const statusSuspended = "suspended"

// KeyOrigins returns the words for the origin of a key.
func KeyOrigins() []string { return []string{"initial", "console", "api"} }

// KeySorts returns the words for the orders of keys.
func KeySorts() []string { return []string{"issued", "label", "expiry", "last_use"} }

var keyOrders = map[string]keystore.KeyOrder{
	"": keystore.OrderIssued, "issued": keystore.OrderIssued, "label": keystore.OrderLabel, "expiry": keystore.OrderEnd, "last_use": keystore.OrderUse,
}

// KeyQuery selects keys. A key must match all its fields. The zero value selects all keys.
type KeyQuery struct {
	Page

	// AccountID selects the keys of the account with this ID or name.
	AccountID string `json:"account_id"`
	// Status selects the keys of one of the [KeyStatuses].
	Status string `json:"status"`
	// Origin selects the keys of one of the [KeyOrigins].
	Origin string `json:"origin"`
	// Label selects the keys whose label contains this text, in upper or lower case.
	Label string `json:"label"`
	// IssuedBy selects the keys that the key with this ID issued.
	IssuedBy string `json:"issued_by"`
	// Expiring selects the active keys that expire within this span, such as 14d.
	Expiring string `json:"expiring"`
	// Unused selects the active keys that are older than this duration and were not used
	// within it.
	Unused string `json:"unused"`
	// Search selects the keys whose label begins with this text, and after them the keys whose
	// label contains it elsewhere, in upper or lower case, in the order of the labels. A text
	// that begins with key_ selects the keys whose ID begins with it. Sort must be empty.
	Search string `json:"search"`
	// Sort is the order: one of the [KeySorts]. The keys that end first are first in the order
	// expiry, which is that of the first of expiry, deletion and revocation. Keys that were
	// never used are last in the order last_use, also if it is turned around. Without an
	// account, label is the order of the accounts' IDs, and of the labels in each. Default:
	// issued.
	//
	// With a Search or with another order than issued, a part can have fewer keys than the
	// limit, even none, although a next part follows: no part takes long.
	Sort string `json:"sort"`
	// NewestFirst turns the order around.
	NewestFirst bool `json:"newest_first"`
	// Bounded limits the work for a part of the list, also in the order issued: with a filter, a
	// part can have fewer keys than the limit then. It is for pages that people wait for.
	Bounded bool `json:"-"`
}

// Validate refuses a query with a mistake in a field. It does not read the keystore.
func (q *KeyQuery) Validate() error {
	_, err := q.parse(0)
	return err
}

// parse returns the query in the form that the store takes. Times are counted from now.
func (q *KeyQuery) parse(now policy.Time) (keystore.KeyList, error) {
	l := keystore.KeyList{
		AccountID: q.AccountID, IssuerID: q.IssuedBy, Status: q.Status, Now: now,
		Label: q.Label, Search: q.Search, Order: keyOrders[q.Sort], NewestFirst: q.NewestFirst, Bounded: q.Bounded, Limit: q.Limit, Cursor: q.Cursor,
	}
	if err := checkAccountIfAny(q.AccountID); err != nil {
		return l, err
	}
	if q.Origin != "" {
		if err := oneOf("origin", q.Origin, KeyOrigins()); err != nil {
			return l, err
		}
		l.Origin, _ = policy.ParseOrigin(q.Origin)
	}
	if q.Status != "" {
		if err := oneOf("status", q.Status, KeyStatuses()); err != nil {
			return l, err
		}
	}
	if err := checkIDIfAny("issued_by", KindKey, q.IssuedBy); err != nil {
		return l, err
	}
	if err := q.checkSort(); err != nil {
		return l, err
	}
	expiring, err := parsePositiveSpan("expiring", q.Expiring)
	if err != nil {
		return l, err
	}
	unused, err := parsePositiveSpan("unused", q.Unused)
	if err != nil {
		return l, err
	}
	onlyActive := field("expiring")
	if expiring == 0 {
		onlyActive = "unused"
	}
	if q.Status != "" && q.Status != StatusActive && (expiring > 0 || unused > 0) {
		return l, wrong("status", " %s and %s: no key is both, since the latter lists active keys", q.Status, onlyActive)
	}
	if expiring > 0 {
		l.ExpiresBy = now.Add(expiring)
	}
	if unused > 0 {
		l.UnusedSince = now.Add(-unused)
	}
	return l, q.check()
}

// checkSort refuses a wrong order, and a search for a secret or with an order.
func (q *KeyQuery) checkSort() error {
	if q.Sort != "" {
		if err := oneOf("sort", q.Sort, KeySorts()); err != nil {
			return err
		}
	}
	if err := checkSearch(q.Search, phrase.New("a part of a label, or a key ID")); err != nil {
		return err
	}
	if q.Search != "" && q.Sort != "" {
		return wrong("sort", " %s: the keys of a search are in the order of their labels", q.Sort)
	}
	return nil
}

// checkSearch refuses to search for a secret or for a long text.
func checkSearch(text string, want phrase.Text) error {
	for _, secret := range []string{policy.KeyPrefix, policy.ServicePasswordPrefix, policy.SetupPrefix} {
		if strings.HasPrefix(text, secret) {
			is, _ := lookalike(text)
			return wrong("search", " is %s: want %s", is, want)
		}
	}
	if len(text) > maxSearch {
		return wrong("search", " has %d bytes: want up to %d", len(text), maxSearch)
	}
	return nil
}

// maxSearch is the longest text of a search: that of a label.
const maxSearch = 200

// Keys returns a part of the list of keys, oldest first unless the query has another order.
func (m *Manager) Keys(ctx context.Context, q KeyQuery) (List[Key], error) {
	l, err := q.parse(m.Now)
	if err != nil {
		return List[Key]{}, err
	}
	if q.AccountID, err = m.accountIDIfAny(ctx, q.AccountID); err != nil {
		return List[Key]{}, err
	}
	if l.AccountID, err = m.scope(q.AccountID); err != nil {
		return List[Key]{}, err
	}
	records, next, err := m.Store.Keys(ctx, l)
	if err == nil && len(records) == 0 && q.IssuedBy != "" {
		err = m.checkIssuer(ctx, q.IssuedBy)
	}
	return listOf(records, next, err, m.keyOf)
}

// checkIssuer returns an error if the key does not exist and no keys remain that it has
// issued. The store can have pruned an issuer while its keys remain.
func (m *Manager) checkIssuer(ctx context.Context, id string) error {
	accountID, err := m.scope("")
	if err != nil {
		return err
	}
	issued, _, err := m.Store.Keys(ctx, keystore.KeyList{AccountID: accountID, IssuerID: id, Limit: 1})
	if err != nil || len(issued) > 0 {
		return err
	}
	_, err = m.key(ctx, id)
	return err
}
