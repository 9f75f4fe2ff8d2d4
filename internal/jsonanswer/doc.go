// Package jsonanswer reads and changes the JSON answers of a backend while they pass through
// the gate, in pieces of any size and in constant memory. It never holds a whole answer.
//
//   - A [Path] says where a value is.
//   - [Members] reads some values of an object, such as a job's ID.
//   - An [Editor] replaces strings, such as URLs, and drops entries of a list.
//
// Both refuse JSON that two parsers could read in two ways. They share one reader, walker.
package jsonanswer
