package main

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// edit puts a text into a source in place of length bytes.
type edit struct {
	offset, length int
	rank           int // orders edits at one offset: the lowest comes first
	text           string
}

// wrap puts texts before and after n. The nodes around n must be wrapped before n.
func (f *finder) wrap(n ast.Node, before, after string) {
	// At one offset, what ends there ends first, and from the inside to the outside.
	// What begins there begins from the outside to the inside.
	depth := len(f.edits) + 1
	f.edits = append(f.edits,
		edit{offset: f.offset(n.Pos()), rank: depth, text: before},
		edit{offset: f.offset(n.End()), rank: -depth, text: after})
}

// replace puts a text in place of another.
func (f *finder) replace(at token.Pos, old, text string) {
	f.edits = append(f.edits, edit{offset: f.offset(at), length: len(old), text: text})
}

// apply returns the source with all edits.
func apply(source []byte, edits []edit) []byte {
	edits = slices.SortedStableFunc(slices.Values(edits), func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.rank, b.rank))
	})
	var out bytes.Buffer
	last := 0
	for _, e := range edits {
		out.Write(source[last:e.offset])
		out.WriteString(e.text)
		last = e.offset + e.length
	}
	out.Write(source[last:])
	return out.Bytes()
}

// helper returns the source of the functions that the edits call.
func helper(name string) string { return strings.ReplaceAll(helperText, "PACKAGE", name) }

// helperText is a file of the package that is changed. MUTANT is the number of the change
// to make. If it is "reach", nothing is changed, and the file MUTANT_REACHED gets
// the number of each change that the tests reach.
const helperText = `package PACKAGE

import (
	mutantOS "os"
	mutantStrconv "strconv"
	mutantSync "sync"
)

var (
	mutantID, _    = mutantStrconv.Atoi(mutantOS.Getenv("MUTANT"))
	mutantReach    = mutantOS.Getenv("MUTANT") == "reach"
	mutantReached  mutantSync.Map
)

func mutantIs(id int) bool {
	if mutantReach {
		if _, known := mutantReached.LoadOrStore(id, true); !known {
			file, err := mutantOS.OpenFile(mutantOS.Getenv("MUTANT_REACHED"), mutantOS.O_APPEND|mutantOS.O_CREATE|mutantOS.O_WRONLY, 0o600)
			if err != nil {
				panic(err)
			}
			_, _ = file.WriteString(mutantStrconv.Itoa(id) + "\n")
			_ = file.Close()
		}
	}
	return id == mutantID
}

type mutantInteger interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

func mutantAdd[T mutantInteger](id int, a, b T) T {
	if mutantIs(id) {
		return a - b
	}
	return a + b
}

func mutantSub[T mutantInteger](id int, a, b T) T {
	if mutantIs(id) {
		return a + b
	}
	return a - b
}
`
