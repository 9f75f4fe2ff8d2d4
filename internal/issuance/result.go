package issuance

import (
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Result is the answer to one request for a key.
type Result struct {
	Status     int    // of HTTP
	Text       string // one line for people; empty if a key was issued
	RetryAfter int    // 0 if the answer has no header Retry-After
	Challenge  bool   // whether the answer has a WWW-Authenticate header

	Secret policy.Secret // the issued key's secret
	Key    policy.Key    // the issued key's record

	// The remaining fields are for the operator's log.
	Reason    policy.Reason
	Detail    string
	KeyID     string // the key that the caller authenticated with
	AccountID string // the caller's account, if it is known
}

// Refusal returns the answer to a request that is refused for this reason. Its text tells
// the caller that the method is wrong, that credentials are missing, or that the key may
// not issue keys. For every other reason, it is the one answer of unauthorized.
func Refusal(reason policy.Reason) *Result {
	switch reason {
	case policy.OperationUnlisted:
		return refusal(http.StatusMethodNotAllowed, reason, "Only POST issues a key.")
	case policy.CredentialMissing:
		result := refusal(http.StatusUnauthorized, reason, "Credentials are missing: send sid and spw in the body, or a key that may issue keys as Authorization: Bearer.")
		result.Challenge = true
		return result
	case policy.NoIssuanceRight:
		return refusal(http.StatusForbidden, reason, "This key may not issue keys: it was issued without that right.")
	}
	return unauthorized(reason, "")
}

// Unavailable returns the answer to every request while the keystore has a fault.
func Unavailable(err error) *Result {
	result := refusal(http.StatusServiceUnavailable, policy.StoreUnavailable, "No key can be issued at the moment: try again.")
	result.Detail, result.RetryAfter = err.Error(), 5
	return result
}

func refusal(status int, reason policy.Reason, text string) *Result {
	return &Result{Status: status, Reason: reason, Text: text, Detail: text}
}

// unauthorized returns the answer to callers without valid credentials. All get the same
// text, because it must not tell them what is wrong. The reason and the detail are only for
// the log.
func unauthorized(reason policy.Reason, detail string) *Result {
	result := refusal(http.StatusUnauthorized, reason, "The credentials are not valid: they are unknown or wrong, have ended, or may not be used from your address.")
	result.Detail, result.Challenge = detail, true
	return result
}

// badRequest returns the answer that tells an authenticated caller what is wrong with the
// request. If the text or a field contains a secret, the answer has another text.
func badRequest(req *KeyRequest, text string) *Result {
	text += "."
	for _, secret := range []policy.Secret{req.key, req.password} {
		if !secret.Empty() && strings.Contains(text+req.epi+" "+req.ipa+" "+req.limits, secret.Reveal()) || policy.HoldsSecret(text) {
			text = "The epi, ipa or limits holds a credential: send a lifetime, addresses and limits."
		}
	}
	return refusal(http.StatusBadRequest, policy.CredentialMalformed, text)
}
