package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/manage"
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

// keystoreTime limits how long a request waits for the keystore.
const keystoreTime = 5 * time.Second

func (a *Admin) cutStreams(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return wrongMethod(w, r, http.MethodPost)
	}
	order, err := readOrder(w, r)
	if err != nil {
		return badRequest(err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), keystoreTime)
	defer cancel()
	if order.AccountID != "" && !strings.HasPrefix(order.AccountID, "acc_") {
		if err := a.resolve(ctx, r, &order); err != nil {
			return err
		}
	}
	var first *livestream.Snapshot
	result := CutResult{Cut: a.streams.CutIf(func(s *livestream.Snapshot) bool {
		matches := order.matches(s)
		if matches && first == nil {
			found := *s
			first = &found
		}
		return matches
	})}
	// The streams are cut first: no fault of the keystore may delay or prevent a cut.
	store := a.acquire(r, order.Operator) //nolint:contextcheck // the store stays open after the request
	defer store.release()
	if result.Cut == 0 {
		if err := store.exists(ctx, &order); err != nil {
			return err
		}
	} else if err := store.note(ctx, &order, first.Owner.AccountID, result.Cut); err != nil {
		caddy.Log().Named("admin.api.speechgate").Error("the audit trail has no entry about streams that the operator cut",
			zap.String("subject", order.subject()), zap.Int("streams", result.Cut), zap.Error(err))
		result.AuditError = err.Error()
	}
	return writeJSON(w, result)
}

// readOrder reads the body of a request to cut streams.
func readOrder(w http.ResponseWriter, r *http.Request) (order CutOrder, err error) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrderSize))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&order); err != nil {
		return order, fmt.Errorf("the body: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return order, errors.New("the body: want one object, and nothing after it")
	}
	if order.Given() != 1 {
		return order, errors.New("want one of stream_id, key_id and account_id")
	}
	return order, keystore.CheckOperator(order.Operator)
}

// orderStore is the keystore of the configuration, for one order.
type orderStore struct {
	app     *app.App        // nil if the configuration has no keystore
	manager *manage.Manager // nil if the keystore cannot be used
	fault   error           // why not
}

// acquire returns the keystore of the configuration for an order. Call release once.
func (a *Admin) acquire(r *http.Request, operator string) *orderStore {
	by := keystore.Actor{Kind: keystore.ActorOperator, ID: operator}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		by.From = addr.Addr().Unmap()
	}
	// The admin API is provisioned before the apps, so the app is looked up here.
	module, err := a.ctx.AppIfConfigured(app.Name)
	if err != nil {
		return &orderStore{fault: errors.New("this server has no keystore")}
	}
	s := &orderStore{app: module.(*app.App)}
	s.app.AcquireStore()
	store, err := s.app.Store()
	if err != nil {
		s.fault = err
		return s
	}
	s.manager = &manage.Manager{Store: store, Actor: by, Now: s.app.Now()}
	return s
}

func (s *orderStore) release() {
	if s.app != nil {
		s.app.ReleaseStore()
	}
}

// resolve replaces the name of an account by its ID.
func (a *Admin) resolve(ctx context.Context, r *http.Request, order *CutOrder) error {
	s := a.acquire(r, order.Operator) //nolint:contextcheck // the store stays open after the request
	defer s.release()
	if s.fault != nil {
		return unavailable(s.fault)
	}
	account, err := s.manager.Account(ctx, order.AccountID)
	order.AccountID = account.ID
	return answerTo(err)
}

// exists refuses an order that names a key or an account that the keystore does not have.
func (s *orderStore) exists(ctx context.Context, order *CutOrder) error {
	if order.StreamID != "" {
		return nil
	}
	if s.fault != nil {
		return unavailable(s.fault)
	}
	if order.KeyID != "" {
		_, err := s.manager.Key(ctx, order.KeyID)
		return answerTo(err)
	}
	_, err := s.manager.Account(ctx, order.AccountID)
	return answerTo(err)
}

// note adds an entry to the audit trail.
func (s *orderStore) note(ctx context.Context, order *CutOrder, accountID string, streams int) error {
	if s.fault != nil {
		return s.fault
	}
	m := s.manager
	return m.Store.NoteCut(ctx, m.Now, m.Actor, accountID, order.subject(), streams)
}

// answerTo returns the answer to an error of package manage.
func answerTo(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keystore.ErrNotFound):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	case errors.Is(err, keystore.ErrInvalid):
		return badRequest(err)
	}
	return unavailable(err)
}

func unavailable(err error) error {
	return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("no stream was cut, and the keystore cannot say why: %w", err)}
}
