// Package phrase has sentences for people that can be said in several languages.
//
// A [Text] is an English format, as package fmt reads it, and the values in it. The format tells
// the text apart from all other texts: a catalog of another language has a format of its own under
// it. The code that makes a Text knows no other language, and nobody reads a sentence to find its
// values.
package phrase

import (
	"errors"
	"fmt"
	"strings"
)

// Text is a sentence, or a part of one. The zero value is the empty text.
type Text struct {
	format string
	values []any
}

// New returns a text. The format is a constant, in English. A value can be a Text, or an error that
// has one: a catalog then has both.
func New(format string, values ...any) Text { return Text{format, values} }

// Word returns a text that is one of a fixed list of words, such as the status of a key.
func Word(word string) Text { return Text{format: word} }

// Count returns the text for a number: one for 1, and many for all other numbers. Both have the
// number as their only value.
func Count(n int, one, many string) Text {
	if n == 1 {
		return New(one, n)
	}
	return New(many, n)
}

// Or joins words as alternatives: a, b or c.
func Or(words []string) Text {
	if len(words) < 2 {
		return New("%s", strings.Join(words, ""))
	}
	last := len(words) - 1
	return New("%s or %s", strings.Join(words[:last], ", "), words[last])
}

// List joins texts with commas.
func List(texts []Text) Text {
	values := make([]any, len(texts))
	for i, text := range texts {
		values[i] = text
	}
	return New(strings.TrimSuffix(strings.Repeat("%s, ", len(texts)), ", "), values...)
}

// Format returns the English format.
func (t Text) Format() string { return t.format }

// Values returns the values of the format, in order.
func (t Text) Values() []any { return t.values }

// With returns the text with each value replaced by the result of change.
func (t Text) With(change func(value any) any) Text {
	values := make([]any, len(t.values))
	for i, value := range t.values {
		values[i] = change(value)
	}
	return Text{t.format, values}
}

// String returns the text in English.
func (t Text) String() string { return fmt.Sprintf(t.format, t.values...) }

// mistake is an error with a text.
type mistake struct {
	error
	text Text
}

// Errorf does what [fmt.Errorf] does, and the error has a text.
func Errorf(format string, values ...any) error {
	return &mistake{fmt.Errorf(format, values...), New(strings.ReplaceAll(format, "%w", "%v"), values...)}
}

// Unwrap returns the error that the format wraps.
func (m *mistake) Unwrap() error { return errors.Unwrap(m.error) }

// Text returns the message.
func (m *mistake) Text() Text { return m.text }

// Of returns the text of an error: of the first error in its chain that has one. ok is false if no
// error has one.
func Of(err error) (text Text, ok bool) {
	var own interface{ Text() Text }
	if !errors.As(err, &own) {
		return Text{}, false
	}
	return own.Text(), true
}
