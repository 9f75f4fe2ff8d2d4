// Package policy decides who may do what, when and from where.
//
// It is pure: it reads no clock, no file and no network, and imports the
// standard library only. Whoever calls it gathers the facts (which operation,
// which key, from which address, for which job, at what instant) and gets back
// one [Decision] with one [Reason].
//
// Everything fails closed: the zero value of every type here is the one that
// is refused.
package policy
