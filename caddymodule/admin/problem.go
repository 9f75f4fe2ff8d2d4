package admin

import (
	"errors"
	"net/http"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
)

// Problem is the body of an error: the problem details of RFC 9457. The type is an address in
// docs/admin-api.md.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Field is the field of the body, the parameter or the header that is wrong.
	Field string `json:"field,omitempty"`
	// Error is Detail: the errors of Caddy's own admin API have their text there.
	Error string `json:"error"`
}

// problemKind is a kind of problems.
type problemKind struct {
	name   string // the last part of the type, and a heading in docs/admin-api.md
	title  string
	status int
}

const problemTypes = "https://github.com/speechgate/speechgate/blob/main/docs/admin-api.md#"

// The kinds of problems.
var (
	problemRequest      = problemKind{"invalid_request", "The request cannot be read", http.StatusBadRequest}
	problemField        = problemKind{"invalid_field", "A field of the request is wrong", http.StatusBadRequest}
	problemSecretInURL  = problemKind{"secret_in_url", "The URL has a secret in it", http.StatusBadRequest}
	problemNotFound     = problemKind{"not_found", "There is no such record", http.StatusNotFound}
	problemMethod       = problemKind{"method_not_allowed", "The path does not take this method", http.StatusMethodNotAllowed}
	problemConflict     = problemKind{"conflict", "The record is in a state that does not allow this", http.StatusConflict}
	problemMediaType    = problemKind{"unsupported_media_type", "The body is not JSON", http.StatusUnsupportedMediaType}
	problemTooLarge     = problemKind{"body_too_large", "The body is too large", http.StatusRequestEntityTooLarge}
	problemOtherRequest = problemKind{"idempotency_key_reused", "The idempotency key belongs to another request", http.StatusUnprocessableEntity}
	problemTooMany      = problemKind{"too_many_requests", "There are too many of them", http.StatusTooManyRequests}
	problemInternal     = problemKind{"internal", "The request failed", http.StatusInternalServerError}
	problemUnavailable  = problemKind{"keystore_unavailable", "The keystore cannot be used", http.StatusServiceUnavailable}
)

// problemKinds returns all kinds of problems.
func problemKinds() []problemKind {
	return []problemKind{
		problemRequest, problemField, problemSecretInURL, problemNotFound, problemMethod, problemConflict, problemMediaType,
		problemTooLarge, problemOtherRequest, problemTooMany, problemInternal, problemUnavailable,
	}
}

// with returns a problem of this kind.
func (k problemKind) with(detail string) Problem {
	return Problem{Type: problemTypes + k.name, Title: k.title, Status: k.status, Detail: detail, Error: detail}
}

// problemError is an error that has its kind already.
type problemError struct {
	kind  problemKind
	field string
	error
}

func (e *problemError) Unwrap() error { return e.error }

// of returns err as a problem of this kind.
func (k problemKind) of(err error) error { return &problemError{kind: k, error: err} }

// inField returns err as a problem with a field of the request.
func inField(field string, err error) error {
	return &problemError{kind: problemField, field: field, error: err}
}

// problemOf returns the problem that an error of any package is.
func problemOf(err error) Problem {
	own, field := (*problemError)(nil), (*manage.FieldError)(nil)
	text := manage.Text(err, fieldNames{})
	switch {
	case errors.As(err, &own):
		p := own.kind.with(text)
		p.Field = own.field
		return p
	case errors.As(err, &field):
		p := problemField.with(text)
		p.Field = fieldNames{}.Field(field.Field)
		return p
	case errors.Is(err, manage.ErrOtherRequest):
		p := problemOtherRequest.with(text)
		p.Field = idempotencyHeader
		return p
	case errors.Is(err, keystore.ErrNotFound):
		return problemNotFound.with(text)
	case errors.Is(err, keystore.ErrInvalid), errors.Is(err, keystore.ErrAccountClosed), errors.Is(err, keystore.ErrAccountSuspended):
		return problemConflict.with(text)
	case errors.Is(err, keystore.ErrUnavailable), errors.Is(err, keystore.ErrNoStore):
		return problemUnavailable.with(text)
	}
	return problemInternal.with(text)
}

func writeProblem(w http.ResponseWriter, p Problem) {
	writeJSON(w, "application/problem+json", p.Status, p)
}

// fieldNames has the names of fields in messages: those in JSON, and those of parameters.
type fieldNames struct{}

// Field implements manage.Names.
func (fieldNames) Field(name string) string {
	if name == "key" { // of manage.JobQuery
		return "key_id"
	}
	return name
}

// List implements manage.Names.
func (fieldNames) List(manage.Kind) string { return "" }
