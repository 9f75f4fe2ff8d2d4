// Package issuance has the rules of the issuance API: who may ask for a key, and which keys
// can be asked for.
//
// It does not import Caddy and reads no clock. A request with a value that cannot be read
// is always refused, and the refusal says what would be right. If the API guessed what the
// value means, it could issue a key that lives longer than the caller meant, and nobody
// would notice.
package issuance
