package policy

// The errors of CheckSecret and CheckToken, for the tests.
var (
	ErrSecretChecksum = errSecretChecksum
	ErrSecretChars    = errSecretChars
	ErrSecretLength   = errSecretLength
	ErrTokenLength    = errTokenLength
)
