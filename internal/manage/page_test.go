package manage

import (
	"errors"
	"slices"
	"testing"
)

func TestAll_ReadsUntilThereIsNoNextPart(t *testing.T) {
	t.Parallel()
	parts := map[string]List[int]{"": {[]int{1, 2}, "a"}, "a": {[]int{}, "b"}, "b": {[]int{3}, ""}}
	all, err := All(func(page Page) (List[int], error) { return parts[page.Cursor], nil })
	if !slices.Equal(all, []int{1, 2, 3}) || err != nil {
		t.Errorf("got %v, %v", all, err)
	}
	fails := errors.New("the second part fails")
	all, err = All(func(page Page) (List[int], error) {
		if page.Cursor != "" {
			return List[int]{}, fails
		}
		return List[int]{[]int{1}, "a"}, nil
	})
	if all != nil || !errors.Is(err, fails) {
		t.Errorf("got %v, %v; want no entries, and the error", all, err)
	}
}
