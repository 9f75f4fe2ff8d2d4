package keystore

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// keyPosition is a place in an ordered list: after the key with these values of the columns of the
// order. Without values it is the beginning of the section.
type keyPosition struct {
	section int
	values  []any
}

// orderedCursor returns the beginning of the cursors of an ordered list.
func orderedCursor(list *KeyList) string {
	order := list.Order
	if list.Search != "" {
		order = OrderLabel
	}
	name := "o" + string("ileu"[order])
	if list.NewestFirst {
		return name + "-"
	}
	return name
}

// cursor returns the position in a form that can be a part of a URL.
func (at keyPosition) cursor(list *KeyList) string {
	parts := []string{orderedCursor(list) + strconv.Itoa(at.section)}
	for _, value := range at.values {
		switch value := value.(type) {
		case int64:
			parts = append(parts, "i"+strconv.FormatInt(value, 10))
		case []byte:
			parts = append(parts, "b"+base64.RawURLEncoding.EncodeToString(value))
		case string:
			parts = append(parts, "t"+base64.RawURLEncoding.EncodeToString([]byte(value)))
		}
	}
	return strings.Join(parts, ".")
}

// parseKeyPosition is the reverse of cursor. An empty cursor is the beginning of the list.
func parseKeyPosition(list *KeyList, sections [][]keyPart) (at keyPosition, ok bool) {
	if list.Cursor == "" {
		return at, true
	}
	rest, ok := strings.CutPrefix(list.Cursor, orderedCursor(list))
	parts := strings.Split(rest, ".")
	section, err := strconv.ParseUint(parts[0], 10, 8)
	if !ok || err != nil || int(section) >= len(sections) {
		return at, false
	}
	at.section = int(section)
	order := sections[section][0].order
	if len(parts) == 1 {
		return at, true
	}
	if len(parts) != 1+len(order) {
		return at, false
	}
	for i, part := range parts[1:] {
		value, ok := parseValue(kindOf(order[i]), part)
		if !ok {
			return at, false
		}
		at.values = append(at.values, value)
	}
	return at, true
}

// kindOf returns the kind of the values of a column of an order: the letter before such a
// value in a cursor.
func kindOf(column string) byte {
	switch {
	case strings.HasSuffix(column, "digest"):
		return 'b'
	case column == "id", column == "account_id", strings.HasPrefix(column, "lower("):
		return 't'
	}
	return 'i'
}

// parseValue reads a value of a cursor, which must be of a kind.
func parseValue(kind byte, text string) (any, bool) {
	if text == "" || text[0] != kind {
		return nil, false
	}
	if kind == 'i' {
		n, err := strconv.ParseInt(text[1:], 10, 64)
		return n, err == nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text[1:])
	if kind == 't' {
		return string(b), err == nil
	}
	return b, err == nil
}

// comparePlaces compares places in a section with several parts, whose columns are all numbers.
func comparePlaces(a, b []any) int {
	return slices.CompareFunc(a, b, func(a, b any) int {
		x, _ := a.(int64)
		y, _ := b.(int64)
		return cmp.Compare(x, y)
	})
}

func (p *keyPart) scanKey(row scanner) (k placedKey, err error) {
	k.place = make([]any, len(p.order))
	k.Key, err = scanKey(beforeKey{row, pointersTo(k.place)})
	p.settle(k.place)
	return k, err
}

func (p *keyPart) scanPlace(row scanner) ([]any, error) {
	place := make([]any, len(p.order))
	err := row.Scan(pointersTo(place)...)
	p.settle(place)
	return place, err
}

func pointersTo(values []any) []any {
	pointers := make([]any, len(values))
	for i := range values {
		pointers[i] = &values[i]
	}
	return pointers
}

// settle makes strings of the texts of a place, which the database can return as bytes.
func (p *keyPart) settle(place []any) {
	for i, value := range place {
		if b, ok := value.([]byte); ok && kindOf(p.order[i]) == 't' {
			place[i] = string(b)
		}
	}
}
