package manage

import (
	"errors"
	"math"

	"github.com/speechgate/speechgate/keystore"
)

// Page says which part of a list to return.
type Page struct {
	// Limit is the most entries to return. Default: all.
	Limit int `json:"limit"`
	// Cursor is where the part begins: the [List.Next] of the part before. Default: the
	// beginning of the list.
	Cursor string `json:"cursor"`
}

// List is a part of a list.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is the cursor of the next part. It is null after the last part.
	Next OrNull `json:"next"`
}

// check refuses a limit that is not a number of entries.
func (p Page) check() error {
	if p.Limit < 0 || p.Limit == math.MaxInt {
		return wrong("limit", " %d: want the number of entries, or 0 for all", p.Limit)
	}
	return nil
}

// listOf makes a List of what a method of the store returned. An error of the kind
// ErrInvalid is about the cursor, because the store refuses nothing else.
func listOf[R, T any](records []R, next string, err error, result func(R) T) (List[T], error) {
	if errors.Is(err, keystore.ErrInvalid) {
		return List[T]{}, errCursor()
	}
	if err != nil {
		return List[T]{}, err
	}
	items := make([]T, len(records))
	for i, r := range records {
		items[i] = result(r)
	}
	return List[T]{Items: items, Next: OrNull(next)}, nil
}

// errCursor returns the error of a cursor that another list returned, or no list.
func errCursor() error { return wrong("cursor", ": want one that this list returned") }

// wholeListPage is how many entries [All] reads at a time, with one query.
const wholeListPage = 100_000

// All returns a whole list. The function read returns it in parts.
func All[T any](read func(Page) (List[T], error)) (all []T, err error) {
	for page := (Page{Limit: wholeListPage}); ; {
		part, err := read(page)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = part.Items // usually the only part
		} else {
			all = append(all, part.Items...)
		}
		if part.Next == "" {
			return all, nil
		}
		page.Cursor = string(part.Next)
	}
}
