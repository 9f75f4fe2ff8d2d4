package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/speechgate/speechgate/internal/words"
)

const maxBody = 64 << 10 // bytes

// readBody decodes the body of a request into the type that the route has for it. A route
// without a body takes an empty object, too.
func readBody(w http.ResponseWriter, r *http.Request, to *route) (any, error) {
	if to.method == http.MethodGet {
		return nil, nil
	}
	kind, limit := to.body, int64(maxBody)
	switch kind {
	case nil:
		kind = reflect.TypeFor[none]()
	case reflect.TypeFor[CutOrder]():
		limit = maxOrderSize
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, problemTooLarge.of(fmt.Errorf("the body has more than %d bytes", limit))
	}
	if err != nil {
		return nil, problemRequest.of(fmt.Errorf("the body: %w", err))
	}
	if !to.anyType && len(text) > 0 {
		given := r.Header.Get("Content-Type")
		if media, _, err := mime.ParseMediaType(given); err != nil || media != "application/json" {
			return nil, problemMediaType.of(fmt.Errorf("Content-Type %s: want application/json", words.Quote(given)))
		}
	}
	body := reflect.New(kind)
	if len(bytes.TrimSpace(text)) == 0 && len(to.required) == 0 && !to.anyType {
		return body.Interface(), nil // no body is as good as an empty object
	}
	if err := decodeBody(text, body.Elem(), to.required); err != nil {
		return nil, err
	}
	return body.Interface(), nil
}

// decodeBody decodes an object into a struct. It is stricter than package json, because a key
// cannot be changed after it is issued: the object has each member once, with exactly the name
// and the type that the OpenAPI document has, and no null.
func decodeBody(text []byte, into reflect.Value, required []string) error {
	members, err := membersOf(text)
	if err != nil {
		return problemRequest.of(fmt.Errorf("the body: %w", err))
	}
	fields := fieldsOf(into.Type())
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			return problemRequest.of(fmt.Errorf("the body: there is no field %s%s", words.QuoteWord(name), fieldList(fields)))
		}
		target := into.FieldByIndex(fields[i].index)
		if string(value) == "null" || json.Unmarshal(value, target.Addr().Interface()) != nil {
			return inField(name, fmt.Errorf("%s: want %s", name, jsonKind(target.Type())))
		}
	}
	for _, name := range required {
		if _, given := members[name]; !given {
			return inField(name, fmt.Errorf("%s is missing", name))
		}
	}
	return nil
}

func fieldList(fields []field) string {
	if len(fields) == 0 {
		return ": want an empty object"
	}
	return ": want " + words.Alternatives(namesOf(fields))
}

// jsonKind says which JSON a field takes.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array of strings"
	default:
		return "a string"
	}
}

var errNoObject = errors.New("want one object, and nothing after it")

// membersOf returns the members of the one object in a JSON text (RFC 8259).
func membersOf(text []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	switch first, err := dec.Token(); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it is empty: want an object")
	case err != nil:
		return nil, syntaxOf(err)
	case first != json.Delim('{'):
		return nil, errNoObject
	}
	members := make(map[string]json.RawMessage)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, syntaxOf(err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, syntaxOf(err)
		}
		text, _ := name.(string) // an object's names are strings
		if _, twice := members[text]; twice {
			return nil, fmt.Errorf("the field %s is given twice: want it once", words.QuoteWord(text))
		}
		members[text] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, syntaxOf(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoObject
	}
	return members, nil
}

// syntaxOf returns the error of a text that is not JSON.
func syntaxOf(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends before the end of the object")
	}
	return fmt.Errorf("it is not JSON: %w", err)
}
