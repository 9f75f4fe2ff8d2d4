package manage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

// Names are the words of one interface for people, for what error messages mention.
type Names interface {
	// Field returns how messages name a field of a request: on the command line,
	// "--expires" for expires. The argument is the field's name in JSON. If Field returns
	// "", the message does not name the field.
	Field(name string) string
	// List returns what lists the records of a kind: on the command line,
	// "caddy speechgate key list", with quotation marks. If List returns "", the message
	// does not mention a list.
	List(of Kind) string
}

// Text returns the message of err in the words of names. An error of this package can
// be wrapped in err.
func Text(err error, names Names) string {
	text := err.Error()
	var own interface {
		error
		text(names Names) string
	}
	if !errors.As(err, &own) {
		return text
	}
	return strings.Replace(text, own.Error(), own.text(names), 1)
}

// plainNames are the names in JSON, without lists.
type plainNames struct{}

func (plainNames) Field(name string) string { return name }
func (plainNames) List(Kind) string         { return "" }

// FieldError says what is wrong with a field of a request, and what would be right. It
// is a [keystore.ErrInvalid].
type FieldError struct {
	// Field is the field's name in JSON.
	Field string

	format string
	args   []any // for the format; an arg of type field or list is text by the names
}

type (
	// field is the name of a field.
	field string
	// list mentions the list of a kind of records: the list's name replaces the %s
	// in the format.
	list struct {
		of     Kind
		format string
	}
)

// wrong returns the error of a field. The message begins with the field's name.
func wrong(name, format string, args ...any) error {
	return wrongIn(name, "%s"+format, append([]any{field(name)}, args...)...)
}

// wrongIn is wrong for a message that does not begin with the field's name.
func wrongIn(name, format string, args ...any) error {
	return &FieldError{Field: name, format: format, args: args}
}

// Error returns the message with the field's name in JSON.
func (e *FieldError) Error() string { return e.text(plainNames{}) }

// Is reports whether target is [keystore.ErrInvalid].
func (*FieldError) Is(target error) bool { return target == keystore.ErrInvalid }

func (e *FieldError) text(names Names) string {
	args := make([]any, len(e.args))
	for i, arg := range e.args {
		switch arg := arg.(type) {
		case field:
			args[i] = names.Field(string(arg))
		case list:
			args[i] = ""
			if name := names.List(arg.of); name != "" {
				args[i] = fmt.Sprintf(arg.format, name)
			}
		default:
			args[i] = arg
		}
	}
	return strings.TrimPrefix(fmt.Sprintf(e.format, args...), " ") // the first name can be empty
}

// NotFoundError says that a record does not exist. It is a [keystore.ErrNotFound].
type NotFoundError struct {
	Kind Kind // of the record
	err  error
}

// notFound adds the kind to the keystore's error for a record that does not exist. It
// returns every other error as it is.
func notFound(err error, kind Kind) error {
	if errors.Is(err, keystore.ErrNotFound) {
		return &NotFoundError{kind, err}
	}
	return err
}

// Error returns the message without a list.
func (e *NotFoundError) Error() string { return e.err.Error() }

// Is reports whether target is [keystore.ErrNotFound].
func (*NotFoundError) Is(target error) bool { return target == keystore.ErrNotFound }

func (e *NotFoundError) text(names Names) string {
	if name := names.List(e.Kind); name != "" {
		return fmt.Sprintf("%v: %s shows those there are", e.err, name)
	}
	return e.Error()
}

// oneOf refuses a value that is not one of a few words.
func oneOf(name, value string, choices []string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	if meant := words.Nearest(value, choices); meant != "" {
		return wrong(name, " %s: did you mean %s?", words.Quote(value), meant)
	}
	return wrong(name, " %s: want %s", words.Quote(value), words.Alternatives(choices))
}
