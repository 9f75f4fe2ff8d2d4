// Package issuance holds the rules of the issuance API: what a call may ask for
// and who may call.
//
// It knows nothing of Caddy and reads no clock. A call that asks for what cannot
// be made sense of is refused with what would be right, for a key that lives
// longer than was meant cannot be told from one that was meant.
package issuance
