package jsonanswer_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// object is a JSON object with its members in their order. A name can come twice.
type object []member

type member struct {
	name  string
	value any
}

// parse returns the value that encoding/json reads from text: an object, a []any, a string,
// a json.Number, a bool or nil. It returns false if the text is not JSON.
func parse(text []byte) (any, bool) {
	if !json.Valid(text) {
		return nil, false
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return parseValue(dec), true
}

func parseValue(dec *json.Decoder) any {
	token, err := dec.Token()
	if err != nil {
		panic(err)
	}
	switch token {
	case json.Delim('{'):
		members := object{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				panic(err)
			}
			members = append(members, member{name.(string), parseValue(dec)})
		}
		_, _ = dec.Token()
		return members
	case json.Delim('['):
		items := []any{}
		for dec.More() {
			items = append(items, parseValue(dec))
		}
		_, _ = dec.Token()
		return items
	}
	return token
}

// place is what the tests know about a place in a text, as a tree.
type place struct {
	members map[string]*place
	element *place
	replace bool // a string is replaced
	id      bool // the ID of an entry
	list    bool // the list
	toList  bool // an object around the list
}

// faulty reports whether a name of a place comes twice or in another case at its level, or
// whether the list has the wrong type.
func (p *place) faulty(value any) bool {
	members, isObject := value.(object)
	items, isArray := value.([]any)
	switch {
	case p == nil:
		return false
	case p.list && !isArray && value != nil, p.toList && !isObject && value != nil:
		return true
	}
	for name, below := range p.members {
		count := 0
		for _, m := range members {
			if m.name == name {
				count++
			}
			if m.name != name && strings.EqualFold(m.name, name) || m.name == name && below.faulty(m.value) {
				return true
			}
		}
		if count > 1 {
			return true
		}
	}
	return slices.ContainsFunc(items, p.element.faulty)
}

// edited returns the value as an Editor with toGate and keepOwn must write it. The value must
// not be faulty.
func (p *place) edited(value any) any {
	if p == nil {
		return value
	}
	switch value := value.(type) {
	case string:
		if p.replace {
			return toGate(value)
		}
	case object:
		after := object{}
		for _, m := range value {
			after = append(after, member{m.name, p.members[m.name].edited(m.value)})
		}
		return after
	case []any:
		after := []any{}
		for _, item := range value {
			if !p.list || keepOwn(p.element.idOf(item)) {
				after = append(after, p.element.edited(item))
			}
		}
		return after
	}
	return value
}

// idOf returns the ID of an entry; "" if it has none.
func (p *place) idOf(value any) string {
	if id, ok := value.(string); ok && p.id {
		return id
	}
	members, _ := value.(object)
	for _, m := range members {
		if below := p.members[m.name]; below != nil {
			if id := below.idOf(m.value); id != "" {
				return id
			}
		}
	}
	return ""
}

var stringOrWord = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"|[0-9A-Za-z+.-]+`)

// wellFormed reports whether encoding/json takes the text for JSON, apart from words such as
// NaN.
func wellFormed(text []byte) bool {
	return json.Valid(stringOrWord.ReplaceAllFunc(text, func(found []byte) []byte {
		if found[0] == '"' {
			return found
		}
		return []byte("0")
	}))
}
