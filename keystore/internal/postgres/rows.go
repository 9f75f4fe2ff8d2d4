package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// tableRows are the rows of a table, in the order of their keys.
type tableRows struct {
	*rowSource

	table   table
	columns []string
	read    int64  // how many rows were read
	encoded []byte // the last row, as encode returns it
}

// Next implements [engine.Rows].
func (r *tableRows) Next() bool {
	if !r.rowSource.Next() {
		return false
	}
	r.read++
	return true
}

// part is the next rows of a table, up to a number.
type part struct {
	rows *tableRows
	left int
	err  error
}

// Next implements [engine.Rows].
func (p *part) Next() bool {
	if p.left == 0 || p.err != nil || !p.rows.Next() {
		return false
	}
	p.left--
	return true
}

// Values implements [engine.Rows]. It refuses a text that PostgreSQL cannot store.
func (p *part) Values() ([]any, error) {
	for i, v := range p.rows.values {
		if text, ok := v.(string); ok && (!utf8.ValidString(text) || strings.ContainsRune(text, 0)) {
			p.err = fmt.Errorf("the row %s has a text in the column %s that PostgreSQL cannot store: want UTF-8 without zero bytes", p.rows.label(), p.rows.columns[i])
			return nil, p.err
		}
	}
	return p.rows.values, nil
}

// Err implements [engine.Rows].
func (p *part) Err() error { return firstError(p.err, p.rows.Err()) }

// sameRow reports whether two rows have the same values. It encodes both.
func sameRow(a, b *tableRows) (same bool, err error) {
	for _, r := range []*tableRows{a, b} {
		r.encoded = r.encoded[:0]
		for i, v := range r.values {
			if r.encoded, err = encode(r.encoded, v); err != nil {
				return false, fmt.Errorf("the row %s, column %s: %w", r.label(), r.columns[i], err)
			}
		}
	}
	return bytes.Equal(a.encoded, b.encoded), nil
}

// differing names the columns in which two rows differ. It is called for rows that can be encoded.
func differing(a, b *tableRows) string {
	var names []string
	for i, name := range a.columns {
		of, _ := encode(nil, a.values[i])
		other, _ := encode(nil, b.values[i])
		if !bytes.Equal(of, other) {
			names = append(names, name)
		}
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// encode appends a value, so that different values have different bytes.
func encode(to []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(to, 'n'), nil
	case int64:
		return binary.BigEndian.AppendUint64(append(to, 'i'), uint64(v)), nil
	case bool:
		if v {
			return append(to, 't'), nil
		}
		return append(to, 'f'), nil
	case string:
		return append(binary.AppendUvarint(append(to, 's'), uint64(len(v))), v...), nil
	case []byte:
		return append(binary.AppendUvarint(append(to, 'b'), uint64(len(v))), v...), nil
	}
	return nil, fmt.Errorf("it has a value of the type %T: want a number, a text, bytes or a flag", v)
}

// label names the row for people, without a secret: a digest is cut off.
func (r *tableRows) label() string {
	names := r.table.label
	if names == "" {
		names = r.table.key
	}
	var parts []string
	for name := range strings.SplitSeq(names, ", ") {
		i := slices.Index(r.columns, name)
		switch v := r.values[i].(type) {
		case []byte:
			parts = append(parts, fmt.Sprintf("%s %x…", name, v[:min(4, len(v))]))
		default:
			parts = append(parts, fmt.Sprintf("%s %.64v", name, v))
		}
	}
	return strings.Join(parts, ", ")
}
