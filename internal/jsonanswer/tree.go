package jsonanswer

import (
	"bytes"
	"fmt"
	"math/bits"
)

// node is a place in a JSON text that a path leads to or goes through. The nodes of a set
// of paths are a tree. A tree does not change after it is built, so goroutines share it.
type node struct {
	name    []byte // of the member; elements for the elements of an array; empty for the top level
	path    string // the path to the node; empty for the top level
	parent  *node  // nil for the top level
	members []*node
	element *node
	leaf    bool // a path ends here: the value is wanted
	ascii   bool // the name is plain ASCII

	lengths uint64 // a bit for the length of each member's name; lengths from 63 on share a bit

	bit   uint64 // the node's own bit in walker.seen
	below uint64 // the bits of all nodes below

	want  int  // in a Set: the index of the value
	words bool // in a Set: the value may be a word, not only a string

	replace bool // in Edits: the string may be replaced
	entry   bool // in Edits: the value is an entry of the list
	id      bool // in Edits: the string is the ID of an entry
	toList  bool // in Edits: the value is the list, or the way to the list goes through the value
}

// tree has the nodes of several paths.
type tree struct {
	root *node
	used uint64 // the bits of all nodes
}

// add adds a path, and returns the node where it ends. If the path is there already, add
// returns that node.
func (t *tree) add(path Path) (*node, error) {
	steps, err := path.steps()
	if err != nil {
		return nil, err
	}
	at := t.root
	for _, step := range steps {
		if at.leaf {
			return nil, fmt.Errorf("path %q goes through %q, which is the path of a value", path, at.path)
		}
		at, err = t.child(at, step)
		if err != nil {
			return nil, err
		}
	}
	if len(at.members) > 0 || at.element != nil {
		return nil, fmt.Errorf("path %q is the path of a value, and another path goes through it", path)
	}
	at.leaf = true
	return at, nil
}

// child returns the node of a step from a node. It adds the node if there is no such node.
func (t *tree) child(parent *node, step string) (*node, error) {
	if step == elements {
		if parent.element == nil {
			node, err := t.newNode(parent, step, parent.path+step)
			parent.element = node
			return node, err
		}
		return parent.element, nil
	}
	path := step
	if parent != t.root {
		path = parent.path + "." + step
	}
	for _, node := range parent.members {
		switch {
		case string(node.name) == step:
			return node, nil
		case bytes.EqualFold(node.name, []byte(step)):
			return nil, fmt.Errorf("the paths %q and %q differ only in upper and lower case", path, node.path)
		}
	}
	node, err := t.newNode(parent, step, path)
	if err != nil {
		return nil, err
	}
	parent.members = append(parent.members, node)
	if parent.lengths |= 1 << min(len(step), 63); !node.ascii {
		parent.lengths = ^uint64(0) // its other cases can have other lengths
	}
	return node, nil
}

// mayHave reports whether a name without escapes can be the name of a member, perhaps in another
// case. It is fast, and can be wrong only if it returns true.
func (n *node) mayHave(name []byte) bool {
	return n.lengths>>min(len(name), 63)&1 != 0 || n.lengths != 0 && !isASCII(name)
}

func (t *tree) newNode(parent *node, step, path string) (*node, error) {
	index := bits.OnesCount64(t.used)
	if index == 64 {
		return nil, fmt.Errorf("path %q: the paths have more than 64 steps together", path)
	}
	n := &node{name: []byte(step), path: path, parent: parent, ascii: isPlain([]byte(step)), bit: 1 << index}
	t.used |= n.bit
	for above := parent; above != nil; above = above.parent {
		above.below |= n.bit
	}
	return n, nil
}
