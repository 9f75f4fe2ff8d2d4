// Package issuance holds the rules of the issuance API: who may ask for a key,
// and what a key may be asked for.
//
// It knows nothing of Caddy and reads no clock. A request with a value that
// cannot be read is always refused, and the refusal says what would be right. A
// guess could issue a key that lives longer than the caller meant, and nobody
// would notice.
package issuance
