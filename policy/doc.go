// Package policy decides who may do what, when and from where.
//
// The package is pure: it reads no clock, no file and no network, and imports only
// the standard library and package phrase, for sentences. The caller gathers the
// facts of a [Request] (operation, client address, job), the instant, the [Key], and
// the gate's [Rules]. [Decide] returns one [Decision] with one [Reason], and [Explain]
// also returns the result of every rule.
//
// Everything fails closed: the zero value of a type is refused, or is the strictest
// setting.
package policy
