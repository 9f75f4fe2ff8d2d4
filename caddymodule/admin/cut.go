package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/keystore"
)

// CutOrder says which streams to cut: one stream, or those of a key or of an account.
type CutOrder struct {
	StreamID string `json:"stream_id,omitempty"`
	KeyID    string `json:"key_id,omitempty"`
	// AccountID is the ID or the name of an account.
	AccountID string `json:"account_id,omitempty"`
	// Operator is who cuts the streams, for the audit trail. It can be empty.
	Operator string `json:"operator,omitempty"`
}

// Given returns how many IDs the order has. A valid order has exactly one.
func (o *CutOrder) Given() (n int) {
	for _, id := range []string{o.StreamID, o.KeyID, o.AccountID} {
		if id != "" {
			n++
		}
	}
	return n
}

// matches reports whether s is one of the streams that the order wants to be cut.
func (o *CutOrder) matches(s *livestream.Snapshot) bool {
	return o.StreamID != "" && s.ID == o.StreamID ||
		o.KeyID != "" && s.Owner.KeyID == o.KeyID ||
		o.AccountID != "" && s.Owner.AccountID == o.AccountID
}

// subject is the ID of what the order names.
func (o *CutOrder) subject() string { return o.StreamID + o.KeyID + o.AccountID }

// CutResult says how many streams were cut.
type CutResult struct {
	Cut int `json:"cut"`
	// AuditError says why the audit trail has no entry about the cut; empty if it has one.
	AuditError string `json:"audit_error,omitempty"`
}

const maxOrderSize = 4 << 10 // bytes of a CutOrder

// keystoreTime limits how long an order to cut streams waits for the keystore.
const keystoreTime = 5 * time.Second

func cutStreams(c *call, order CutOrder) (CutResult, error) {
	none := func(err error) (CutResult, error) { return CutResult{}, err }
	if order.Given() != 1 {
		return none(problemRequest.of(errors.New("want one of stream_id, key_id and account_id")))
	}
	if order.Operator == "" {
		order.Operator = c.Header.Get(operatorHeader)
	}
	if err := keystore.CheckOperator(order.Operator); err != nil {
		return none(inField("operator", err))
	}
	ctx, cancel := context.WithTimeout(c.ctx, keystoreTime)
	defer cancel()
	by := operatorAt(c.Request, order.Operator)
	if order.AccountID != "" && !strings.HasPrefix(order.AccountID, "acc_") {
		if err := c.admin.resolve(ctx, by, &order); err != nil {
			return none(err)
		}
	}
	var first *livestream.Snapshot
	result := CutResult{Cut: c.admin.streams.CutIf(func(s *livestream.Snapshot) bool {
		matches := order.matches(s)
		if matches && first == nil {
			found := *s
			first = &found
		}
		return matches
	})}
	// The streams are cut first: no fault of the keystore may delay or prevent a cut.
	store := c.admin.acquire(by)
	defer store.release()
	if result.Cut == 0 {
		if err := store.exists(ctx, &order); err != nil {
			return none(err)
		}
	} else if err := store.note(ctx, &order, first.Owner.AccountID, result.Cut); err != nil {
		caddy.Log().Named("admin.api.speechgate").Error("the audit trail has no entry about streams that the operator cut",
			zap.String("subject", order.subject()), zap.Int("streams", result.Cut), zap.Error(err))
		result.AuditError = err.Error()
	}
	return result, nil
}

// resolve replaces the name of an account by its ID.
func (a *Admin) resolve(ctx context.Context, by keystore.Actor, order *CutOrder) error {
	s := a.acquire(by) //nolint:contextcheck // the store stays open after the request
	defer s.release()
	if s.fault != nil {
		return notCut(s.fault)
	}
	account, err := s.manager.Account(ctx, order.AccountID)
	order.AccountID = account.ID
	return notCut(err)
}

// exists refuses an order that names a key or an account that the keystore does not have.
func (s *orderStore) exists(ctx context.Context, order *CutOrder) error {
	if order.StreamID != "" {
		return nil
	}
	if s.fault != nil {
		return notCut(s.fault)
	}
	if order.KeyID != "" {
		_, err := s.manager.Key(ctx, order.KeyID)
		return notCut(err)
	}
	_, err := s.manager.Account(ctx, order.AccountID)
	return notCut(err)
}

// note adds an entry to the audit trail.
func (s *orderStore) note(ctx context.Context, order *CutOrder, accountID string, streams int) error {
	if s.fault != nil {
		return s.fault
	}
	return s.manager.NoteCut(ctx, accountID, order.subject(), streams)
}

// notCut returns the error of an order that cut no stream.
func notCut(err error) error {
	if err == nil || errors.Is(err, keystore.ErrNotFound) || errors.Is(err, keystore.ErrInvalid) {
		return err
	}
	return problemUnavailable.of(fmt.Errorf("no stream was cut, and the keystore cannot say why: %w", err))
}
