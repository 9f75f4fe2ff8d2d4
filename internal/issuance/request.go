package issuance

import (
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 16 << 10

// bearer is the place of the key with which a caller can authenticate.
var bearer = dialect.Place{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"}

// Places are the places of a request in which logs mask secrets. The query is one of them,
// although a service password there is refused.
var Places = []dialect.Place{bearer, {Location: dialect.Query, Name: "spw"}}

// KeyRequest is a request for a key. It has the caller's credentials, which are either key,
// or serviceID and password.
type KeyRequest struct {
	key       policy.Secret // the key in the header Authorization
	serviceID string        // the fields sid and spw
	password  policy.Secret

	epi, ipa string  // the form fields for expiry and addresses, as sent
	limits   string  // the form fields for limits, with a space between them
	fault    *Result // the refusal of a request that cannot be read, or has no valid set of credentials; nil otherwise
	bodyRead bool
}

// BodyRead reports whether the whole body has been read. It is true for a request
// without a body.
func (k *KeyRequest) BodyRead() bool { return k.bodyRead }

// ReadKeyRequest reads a request for a key. If the request cannot be read, or does not have
// exactly one kind of credentials, [Authority.Issue] refuses it. ReadKeyRequest reads at
// most 16 KiB of the body. If the header is already a reason to refuse the request, it does
// not read the body.
func ReadKeyRequest(r *http.Request) *KeyRequest {
	k := new(KeyRequest)
	if k.fault = k.readHeader(r); k.fault != nil {
		return k
	}
	if k.bodyRead = r.Body == nil || r.ContentLength == 0; k.bodyRead {
		k.fault = k.checkCredentials()
		return k
	}
	if k.fault = checkForm(r.Header); k.fault != nil {
		return k
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	k.bodyRead = err == nil && len(body) <= maxBody
	switch {
	case k.bodyRead:
		k.fault = k.readForm(string(body))
	case err == nil:
		k.fault = tooLarge()
	default:
		k.fault = refusal(http.StatusBadRequest, policy.CredentialMalformed, "The body did not arrive whole.")
	}
	return k
}

func (k *KeyRequest) readHeader(r *http.Request) *Result {
	switch {
	case r.Method != http.MethodPost:
		return Refusal(policy.OperationUnlisted)
	case r.URL.RawQuery != "":
		return refusal(http.StatusBadRequest, policy.CredentialMalformed, "The URL has a query, which logs could show: send the fields in the body.")
	case r.ContentLength > maxBody:
		return tooLarge()
	}
	found := credential.Scan(r, &dialect.API{Places: []dialect.Place{bearer}}, &dialect.Route{Keys: []dialect.Place{bearer}})
	key, fault := found.Key()
	switch {
	case fault == nil:
		k.key = key
	case fault.Reason == policy.CredentialAmbiguous:
		return refusal(http.StatusBadRequest, fault.Reason, "There are two Authorization headers that differ: send one.")
	case fault.Reason != policy.CredentialMissing:
		return unauthorized(fault.Reason, fault.Detail)
	}
	return nil
}

// checkForm refuses a body that is not a form.
func checkForm(header http.Header) *Result {
	types := header.Values("Content-Type")
	if len(types) == 1 && len(header.Values("Content-Encoding")) == 0 {
		if kind, _, err := mime.ParseMediaType(types[0]); err == nil && kind == "application/x-www-form-urlencoded" {
			return nil
		}
	}
	return refusal(http.StatusUnsupportedMediaType, policy.CredentialMalformed, "Send the body as a plain form: Content-Type application/x-www-form-urlencoded.")
}

func tooLarge() *Result {
	return refusal(http.StatusRequestEntityTooLarge, policy.CredentialMalformed, "The body is larger than 16 KiB.")
}

// readForm reads the fields that the API knows. It ignores other fields, but refuses a
// field whose name is similar to a known name: see [misspelled].
func (k *KeyRequest) readForm(body string) *Result {
	form, err := url.ParseQuery(body)
	if err != nil { // the error quotes the body, so the answer does not show it
		return refusal(http.StatusBadRequest, policy.CredentialMalformed, "The body is no form: every value is percent-encoded, and & stands between fields.")
	}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if meant := misspelled(name, form, !k.key.Empty()); meant != "" {
			return refusal(http.StatusBadRequest, policy.CredentialMalformed,
				"The form has a field "+words.QuoteArgument(name)+", which the API does not know: did you mean "+meant+"?")
		}
	}
	for _, name := range fieldNames() {
		if len(form[name]) > 1 && name != "limits" {
			return refusal(http.StatusBadRequest, policy.CredentialAmbiguous, "The field "+name+" is given twice: send it once.")
		}
	}
	k.serviceID, k.password = form.Get("sid"), policy.NewSecret(form.Get("spw"))
	k.epi, k.ipa = form.Get("epi"), form.Get("ipa")
	k.limits = strings.Join(form["limits"], " ")
	if fault := k.checkService(); fault != nil {
		return fault
	}
	return k.checkCredentials()
}

// checkService refuses a service ID or a service password that no account can have, such as
// a text with a line break at the end. The answer shows no value.
func (k *KeyRequest) checkService() *Result {
	password := k.password.Reveal()
	var wrong string
	switch {
	case strings.ContainsFunc(k.serviceID, func(r rune) bool { return r <= ' ' || r > '~' }):
		wrong = "The field sid has a space, a line break or a character beyond ASCII: send the service ID alone."
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		wrong = "The field spw has a line break or another control character, or is not UTF-8: send the service password alone."
	case strings.HasPrefix(strings.TrimSpace(password), policy.ServicePasswordPrefix) && strings.TrimSpace(password) != password:
		wrong = "The field spw has a space before or behind the service password: send the service password alone."
	default:
		return nil
	}
	return refusal(http.StatusBadRequest, policy.CredentialMalformed, wrong)
}

// checkCredentials refuses a request without credentials, and a request with both a key and
// a service ID or password.
func (k *KeyRequest) checkCredentials() *Result {
	service := k.serviceID != "" || !k.password.Empty()
	switch {
	case !k.key.Empty() && service:
		return refusal(http.StatusBadRequest, policy.CredentialAmbiguous, "There are two credentials: send sid and spw, or an Authorization header, and not both.")
	case k.key.Empty() && (k.serviceID == "" || k.password.Empty()):
		return Refusal(policy.CredentialMissing)
	}
	return nil
}
