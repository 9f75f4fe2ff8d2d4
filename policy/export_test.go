package policy

// The errors of CheckSecret, for the tests.
var (
	ErrSecretChecksum = errSecretChecksum
	ErrSecretChars    = errSecretChars
	ErrSecretLength   = errSecretLength
)
