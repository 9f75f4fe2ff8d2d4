package manage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
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

// named is an error whose message has the words of Names.
type named interface {
	error
	in(names Names) phrase.Text
}

// Text returns the message of err in the words of names. If err wraps an error of this
// package, the message of that error has these words, too.
func Text(err error, names Names) string {
	text := err.Error()
	own, ok := errors.AsType[named](err)
	if !ok {
		return text
	}
	return strings.Replace(text, own.Error(), english(own, names), 1)
}

// Phrase returns the message of err in the words of names, as a text that can be said in other
// languages. It leaves out what wraps the error that has such a text.
func Phrase(err error, names Names) phrase.Text {
	if own, ok := errors.AsType[named](err); ok {
		return own.in(names)
	}
	if text, ok := phrase.Of(err); ok {
		return text
	}
	return phrase.New("%s", err.Error())
}

// english returns the English message of an error.
func english(own named, names Names) string {
	return strings.TrimPrefix(own.in(names).String(), " ") // the first name can be empty
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

	text phrase.Text // some values are a field or a list; Names have their text
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
	return &FieldError{Field: name, text: phrase.New(format, args...)}
}

// inField returns an error of the keystore about the value of a field as a FieldError.
func inField(name string, err error) error {
	if err == nil {
		return nil
	}
	return wrongIn(name, "%v", err)
}

// Error returns the message with the field's name in JSON.
func (e *FieldError) Error() string { return english(e, plainNames{}) }

// Is reports whether target is [keystore.ErrInvalid].
func (*FieldError) Is(target error) bool { return target == keystore.ErrInvalid }

func (e *FieldError) in(names Names) phrase.Text {
	return e.text.With(func(value any) any {
		switch value := value.(type) {
		case field:
			return names.Field(string(value))
		case list:
			if name := names.List(value.of); name != "" {
				return fmt.Sprintf(value.format, name)
			}
			return ""
		}
		return value
	})
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

func (e *NotFoundError) in(names Names) phrase.Text {
	shown := ""
	if name := names.List(e.Kind); name != "" {
		shown = fmt.Sprintf(": %s shows all %ss", name, e.Kind)
	}
	return phrase.New("%v%s", e.err, shown)
}

// oneOf refuses a value that is not one of choices.
func oneOf(name, value string, choices []string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	if meant := words.Nearest(value, choices); meant != "" {
		return wrong(name, " %s: did you mean %s?", words.Quote(value), meant)
	}
	return wrong(name, " %s: want %s", words.Quote(value), phrase.Or(choices))
}
