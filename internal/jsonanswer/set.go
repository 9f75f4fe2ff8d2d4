package jsonanswer

import (
	"fmt"
	"slices"
)

// Want is one value that [Members] reads.
type Want struct {
	// Path has names only: Members reads objects, not arrays.
	Path Path
	// Literal says that the value may also be a number, true, false or null. If it is not
	// set, the value must be a string.
	Literal bool
}

// Set is a set of values that [Members] reads. It is built once, and does not change. All
// requests share it.
type Set struct {
	root  *node
	paths []Path
}

// NewSet returns the set of some values. It returns an error if two values have the same path,
// if a path goes through another value, or if two paths differ only in upper and lower case.
func NewSet(wants ...Want) (*Set, error) {
	s := &Set{}
	t := tree{root: &node{want: -1}}
	for i, want := range wants {
		if slices.Contains(s.paths, want.Path) {
			return nil, fmt.Errorf("path %q is named twice", want.Path)
		}
		leaf, err := t.add(want.Path)
		if err != nil {
			return nil, err
		}
		for n := leaf; n != nil; n = n.parent {
			if n.element != nil {
				return nil, fmt.Errorf("path %q goes through an array: here a path has names only", want.Path)
			}
		}
		leaf.want, leaf.words = i, want.Literal
		s.paths = append(s.paths, want.Path)
	}
	s.root = t.root
	return s, nil
}

// MustSet returns the set of some strings, for tables. It panics if a path has a mistake.
func MustSet(paths ...string) *Set {
	wants := make([]Want, len(paths))
	for i, path := range paths {
		wants[i].Path = MustPath(path)
	}
	return MustWants(wants...)
}

// MustWants does what [NewSet] does, for tables. It panics if a path has a mistake.
func MustWants(wants ...Want) *Set {
	s, err := NewSet(wants...)
	if err != nil {
		panic(err)
	}
	return s
}

// Len returns the number of values of the set.
func (s *Set) Len() int { return len(s.paths) }

// Path returns the path of a value of the set, from 0.
func (s *Set) Path(i int) Path { return s.paths[i] }
