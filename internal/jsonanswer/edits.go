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
	// Entries are the paths of the ID of an entry, for an answer with a list of entries, such as
	// transcripts[].id. A path has one [], which are the entries of the list. If an API has
	// several forms of its answer, there is a path for each form. An answer needs one of the
	// lists. Without Entries, no list is filtered.
	Entries []Path
	// EntryURL says that the strings at Entries are URLs, and that the ID is the [LastSegment].
	EntryURL bool
}

// Edits are [Changes] that are ready for use. They are built once, and do not change. All
// requests share them.
type Edits struct {
	root     *node
	filters  bool
	entryURL bool
	entries  []Path
}

// Compile makes changes ready for use. It returns an error if a path goes through another one,
// if two paths differ only in upper and lower case, if an entry has not exactly one [], or if a
// list has two of the Entries.
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
	for _, path := range c.Entries {
		if err := t.addEntry(path); err != nil {
			return nil, err
		}
	}
	return &Edits{root: t.root, filters: len(c.Entries) > 0, entryURL: c.EntryURL, entries: c.Entries}, nil
}

// addEntry adds the path of the ID of an entry.
func (t *tree) addEntry(path Path) error {
	id, err := t.add(path)
	if err != nil {
		return err
	}
	id.id = true
	if strings.Count(path.text, elements) != 1 || strings.HasSuffix(path.text, elements) {
		return fmt.Errorf("path %q of an entry's ID: it needs one [], for the entries of the list, and a name after it", path)
	}
	entry := id
	for string(entry.name) != elements {
		entry = entry.parent
	}
	if entry.entry {
		return fmt.Errorf("path %q of an entry's ID: its list has another path already", path)
	}
	entry.entry = true
	for n := entry.parent; n != nil; n = n.parent {
		n.toList = true
	}
	return nil
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
