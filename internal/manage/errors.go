package manage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

// Names has the words that error messages use in one interface for people, such as the
// command line.
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

// Text returns the message of err in the words of names. If err wraps an error of this
// package, the message of that error has these words, too.
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

// plainNames uses the names of the fields in JSON, and mentions no lists.
type plainNames struct{}

func (plainNames) Field(name string) string { return name }
func (plainNames) List(Kind) string         { return "" }

// FieldError says what is wrong with a field of a request, and what would be right. It
// is a [keystore.ErrInvalid].
type FieldError struct {
	// Field is the field's name in JSON.
	Field string

	format string
	args   []any // arguments of format; Names have the text of a field or a list
}

type (
	// field is the name of a field.
	field string
	// list is a mention of the list of a kind of records. The name of the list replaces the
	// %s in the format.
	list struct {
		of     Kind
		format string
	}
)

// wrong returns a FieldError whose message begins with the field's name. The format follows
// the name directly, so it begins with a space or with a colon.
func wrong(name, format string, args ...any) error {
	return wrongIn(name, "%s"+format, append([]any{field(name)}, args...)...)
}

// wrongIn returns a FieldError whose message does not begin with the field's name.
func wrongIn(name, format string, args ...any) error {
	return &FieldError{Field: name, format: format, args: args}
}

// inField returns an error of the keystore about the value of a field as a FieldError.
func inField(name string, err error) error {
	if err == nil {
		return nil
	}
	return wrongIn(name, "%v", err)
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

// notFound makes a NotFoundError of the keystore's error for a record that does not exist.
// It returns every other error unchanged.
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
		return fmt.Sprintf("%v: %s shows all %ss", e.err, name, e.Kind)
	}
	return e.Error()
}

// oneOf refuses a value that is not one of choices.
func oneOf(name, value string, choices []string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	if meant := words.Nearest(value, choices); meant != "" {
		return wrong(name, " %s: did you mean %s?", words.Quote(value), meant)
	}
	return wrong(name, " %s: want %s", words.Quote(value), words.Alternatives(choices))
}
