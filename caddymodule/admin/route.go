package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

// route is one method of one path.
type route struct {
	method, path string // the path is below root
	name         string // the name of the operation
	summary      string // one sentence
	status       int    // of the answer, if the request is good

	query  reflect.Type // a struct whose fields are the parameters of the query; nil for none
	body   reflect.Type // a struct that the body is decoded into; nil for no body
	answer reflect.Type

	required []string // the required parameters of the query, or the required fields of the body
	anyType  bool     // the body need not be called JSON
	noStore  bool     // the route needs no keystore
	repeats  bool     // the route takes an idempotency key

	serve func(c *call, query, body any) (any, error)
}

// none is the query or the body of a route without one.
type none struct{}

func typeOf[T any]() reflect.Type {
	if t := reflect.TypeFor[T](); t != reflect.TypeFor[none]() {
		return t
	}
	return nil
}

// get returns a route that reads.
func get[Q, A any](path, name, summary string, do func(*call, Q) (A, error)) *route {
	return &route{
		method: http.MethodGet, path: path, name: name, summary: summary, status: http.StatusOK,
		query: typeOf[Q](), answer: typeOf[A](),
		serve: func(c *call, query, _ any) (any, error) { return do(c, valueOf[Q](query)) },
	}
}

// change returns a route that changes something.
func change[B, A any](method, path, name, summary string, do func(*call, B) (A, error)) *route {
	return &route{
		method: method, path: path, name: name, summary: summary, status: http.StatusOK,
		body: typeOf[B](), answer: typeOf[A](),
		serve: func(c *call, _, body any) (any, error) { return do(c, valueOf[B](body)) },
	}
}

// valueOf returns the value that a pointer of type *T points to; the zero value if it is nil.
func valueOf[T any](pointer any) (value T) {
	if p, ok := pointer.(*T); ok {
		value = *p
	}
	return value
}

// needs names the required parameters or fields.
func (r *route) needs(names ...string) *route {
	r.required = names
	return r
}

// issues marks a route that makes a record with a secret: it takes an idempotency key.
func (r *route) issues(status int) *route {
	r.repeats, r.status = true, status
	return r
}

// call is one request.
type call struct {
	*http.Request

	ctx     context.Context // ends after requestTime
	admin   *Admin
	writer  http.ResponseWriter
	manager *manage.Manager // nil for a route that needs no keystore
}

// requestTime limits how long a request waits for the keystore. A check of a long audit trail
// takes several seconds.
const requestTime = 30 * time.Second

const (
	// idempotencyHeader is the header of a request that must have an effect once only.
	idempotencyHeader = "Idempotency-Key"
	// operatorHeader has the name of the person who makes a request, for the audit trail.
	operatorHeader = "Speechgate-Operator"
)

// call answers a request for a route.
func (a *Admin) call(w http.ResponseWriter, r *http.Request, to *route) (any, error) {
	query, err := readQuery(to.query, r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	body, err := readBody(w, r, to)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	c := &call{Request: r, ctx: ctx, admin: a, writer: w}
	if !to.noStore {
		by, err := actorOf(r, to.repeats)
		if err != nil {
			return nil, err
		}
		store := a.acquire(by) //nolint:contextcheck // the store stays open after the request
		defer store.release()
		if store.fault != nil {
			return nil, problemUnavailable.of(store.fault)
		}
		c.manager = store.manager
	}
	return to.serve(c, query, body)
}

// repeated notes whether an earlier request with the same idempotency key had the effect.
func (c *call) repeated(is bool) {
	if is {
		c.writer.Header().Set("Idempotency-Replayed", "true")
	}
}

// actorOf returns the operator who makes a request.
func actorOf(r *http.Request, repeats bool) (by keystore.Actor, err error) {
	by = operatorAt(r, r.Header.Get(operatorHeader))
	if err := keystore.CheckOperator(by.ID); err != nil {
		return by, inField(operatorHeader, err)
	}
	if repeats {
		by.Request, err = idempotencyKey(r.Header)
	}
	return by, err
}

// operatorAt returns the operator with this name, at the address of a request.
func operatorAt(r *http.Request, name string) keystore.Actor {
	by := keystore.Actor{Kind: keystore.ActorOperator, ID: name}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		by.From = addr.Addr().Unmap()
	}
	return by
}

const maxIdempotencyKey = 255

// idempotencyKey returns the idempotency key of a request, or "" if the request has none.
func idempotencyKey(header http.Header) (string, error) {
	given := header.Values(idempotencyHeader)
	switch {
	case len(given) == 0:
		return "", nil
	case len(given) > 1:
		return "", inField(idempotencyHeader, fmt.Errorf("%d headers %s: want one", len(given), idempotencyHeader))
	}
	key := given[0]
	plain := !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
	if key == "" || len(key) > maxIdempotencyKey || !plain {
		return "", inField(idempotencyHeader, fmt.Errorf("%s: want 1 to %d visible ASCII characters, such as a random UUID", idempotencyHeader, maxIdempotencyKey))
	}
	return key, nil
}

// orderStore is the keystore of the configuration, for one request.
type orderStore struct {
	app     *app.App        // nil if the configuration has no keystore
	manager *manage.Manager // nil if the keystore cannot be used
	fault   error           // why not
}

// acquire returns the keystore of the configuration. Call release once.
func (a *Admin) acquire(by keystore.Actor) *orderStore {
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
	s.manager = &manage.Manager{Store: store, Actor: by, Now: s.app.Now(), Gates: s.app.Gates(), LimitUse: s.app.LimitUse(store)}
	return s
}

func (s *orderStore) release() {
	if s.app != nil {
		s.app.ReleaseStore()
	}
}

// readQuery decodes the query of a URL into the type that a route has for it.
func readQuery(into reflect.Type, raw string) (any, error) {
	given, err := url.ParseQuery(raw)
	if err != nil {
		return nil, problemRequest.of(fmt.Errorf("the query: %w", err))
	}
	var fields []field
	var query reflect.Value
	if into != nil {
		fields, query = fieldsOf(into), reflect.New(into)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		values := given[name]
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		switch {
		case i < 0:
			return nil, problemRequest.of(fmt.Errorf("the query: there is no parameter %s%s", words.QuoteWord(name), parameterNames(fields)))
		case len(values) > 1:
			return nil, inField(name, fmt.Errorf("%s: it is given %d times: want it once", name, len(values)))
		case values[0] == "": // mostly a variable of the caller that is not set
			return nil, inField(name, fmt.Errorf("%s is empty: give it a value, or leave it out", name))
		}
		if err := setText(query.Elem().FieldByIndex(fields[i].index), values[0]); err != nil {
			return nil, inField(name, fmt.Errorf("%s %s: %w", name, words.QuoteArgument(values[0]), err))
		}
		if n, err := strconv.Atoi(values[0]); name == "limit" && (err != nil || n < 1 || n > maxLimit) {
			return nil, inField(name, errLimit)
		}
	}
	if into == nil {
		return nil, nil
	}
	return query.Interface(), nil
}

func parameterNames(fields []field) string {
	if len(fields) == 0 {
		return ": this path takes none"
	}
	return ": want " + words.Alternatives(namesOf(fields))
}

func namesOf(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// setText sets a field from the text of a parameter.
func setText(f reflect.Value, text string) error {
	switch f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return errors.New("want true or false")
		}
		f.SetBool(text == "true")
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return errors.New("want a whole number")
		}
		f.SetInt(int64(n))
	default:
		panic("a parameter of kind " + f.Kind().String())
	}
	return nil
}
