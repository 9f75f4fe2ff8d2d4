package jsonanswer

import (
	"fmt"
	"slices"
	"strings"
)

// Changes says what an [Editor] changes in an answer.
type Changes struct {
	// Replace are the paths of the strings that the editor may replace, such as
	// page_details.next_url and transcripts[].resource_url. Values that are not strings,
	// such as null, stay as they are.
	Replace []Path
	// Entry is the path of the ID of an entry, for an answer with a list of entries, such as
	// transcripts[].id. It has one [], which are the entries of the list. If Entry is the
	// zero value, no list is filtered.
	Entry Path
	// EntryURL says that the string at Entry is a URL, and that the ID is its [LastSegment].
	EntryURL bool
}

// Edits are [Changes] that are ready for use. They are built once, and do not change. All
// requests share them.
type Edits struct {
	root     *node
	filters  bool
	entryURL bool
	entry    Path
}

// Compile makes changes ready for use. It returns an error if a path goes through another one,
// if two paths differ only in upper and lower case, or if Entry has not exactly one [].
func (c Changes) Compile() (*Edits, error) {
	t := tree{root: &node{}}
	for i, path := range c.Replace {
		if slices.Contains(c.Replace[:i], path) {
			return nil, fmt.Errorf("path %q is named twice", path)
		}
		leaf, err := t.add(path)
		if err != nil {
			return nil, err
		}
		leaf.replace = true
	}
	edits := &Edits{root: t.root, entryURL: c.EntryURL, entry: c.Entry}
	if c.Entry == (Path{}) {
		return edits, nil
	}
	edits.filters = true
	id, err := t.add(c.Entry)
	if err != nil {
		return nil, err
	}
	id.id = true
	if strings.Count(c.Entry.text, elements) != 1 || strings.HasSuffix(c.Entry.text, elements) {
		return nil, fmt.Errorf("path %q of an entry's ID: it needs one [], for the entries of the list, and a name after it", c.Entry)
	}
	entry := id
	for string(entry.name) != elements {
		entry = entry.parent
	}
	entry.entry = true
	for n := entry.parent; n != nil; n = n.parent {
		n.toList = true
	}
	return edits, nil
}

// MustCompile does what [Changes.Compile] does, for tables. It panics if a path has a mistake.
func (c Changes) MustCompile() *Edits {
	edits, err := c.Compile()
	if err != nil {
		panic(err)
	}
	return edits
}

// LastSegment returns the last segment of a URL's path, as it is in the URL, without the query
// and the fragment. It is empty if the URL ends in a slash.
func LastSegment(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	return url[strings.LastIndexByte(url, '/')+1:]
}
