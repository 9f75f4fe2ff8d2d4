package credential

import (
	"encoding/base64"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// errBasic is the fault of a header field with the scheme Basic in which no key is.
var errBasic = &Fault{Reason: policy.CredentialMalformed, Detail: "the header has the scheme Basic, and not the user of the API before a colon and the key"}

// basicPassword returns the password in the credentials of the scheme Basic (RFC 7617, section 2),
// which are base64 of the user, a colon and the password. It returns errBasic if the
// credentials cannot be read, or are of another user.
func basicPassword(credentials, user string) (password string, fault *Fault) {
	if credentials == "" {
		return "", nil
	}
	text, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return "", errBasic
	}
	name, password, ok := strings.Cut(string(text), ":")
	if !ok || name != user {
		return "", errBasic
	}
	return password, nil
}

// basicCredentials does the reverse of basicPassword.
func basicCredentials(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}
