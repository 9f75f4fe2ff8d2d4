package issuance

import (
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// maxBody bounds a call's body, in bytes.
const maxBody = 16 << 10

// bearer is where a key with the issuance right stands.
var bearer = dialect.Place{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"}

// Places are where a caller may have put a secret, rightly or not, for logs to
// mask.
var Places = []dialect.Place{bearer, {Location: dialect.Query, Name: "spw"}}

// Call is a call of the API: who calls, and what is asked for.
type Call struct {
	key       policy.Secret // either this
	serviceID string        // or these two
	password  policy.Secret

	epi, ipa string
	fault    *Answer // why it is none
	bodyRead bool
}

// BodyRead reports whether the whole body has been read, if there is one.
func (c *Call) BodyRead() bool { return c.bodyRead }

// ReadCall reads a call, which is for [API.Issue] to answer, even if it is
// none. It reads no more than 16 KiB of the body, and nothing of it where the
// header is reason enough to refuse.
func ReadCall(r *http.Request) *Call {
	c := new(Call)
	if c.fault = c.readHeader(r); c.fault != nil {
		return c
	}
	if c.bodyRead = r.Body == nil || r.ContentLength == 0; c.bodyRead {
		c.fault = c.checkCredentials()
		return c
	}
	if c.fault = checkForm(r.Header); c.fault != nil {
		return c
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	c.bodyRead = err == nil && len(body) <= maxBody
	switch {
	case c.bodyRead:
		c.fault = c.takeForm(string(body))
	case err == nil:
		c.fault = tooLarge()
	default:
		c.fault = refusal(http.StatusBadRequest, policy.CredentialMalformed, "The body did not arrive whole.")
	}
	return c
}

func (c *Call) readHeader(r *http.Request) *Answer {
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
		c.key = key
	case fault.Reason == policy.CredentialAmbiguous:
		return refusal(http.StatusBadRequest, fault.Reason, "There are two Authorization headers that differ: send one.")
	case fault.Reason != policy.CredentialMissing:
		return unauthorized(fault.Reason, fault.Detail)
	}
	return nil
}

// checkForm says whether the body is a form.
func checkForm(header http.Header) *Answer {
	types := header.Values("Content-Type")
	if len(types) == 1 && len(header.Values("Content-Encoding")) == 0 {
		if kind, _, err := mime.ParseMediaType(types[0]); err == nil && kind == "application/x-www-form-urlencoded" {
			return nil
		}
	}
	return refusal(http.StatusUnsupportedMediaType, policy.CredentialMalformed, "Send the body as a plain form: Content-Type application/x-www-form-urlencoded.")
}

func tooLarge() *Answer {
	return refusal(http.StatusRequestEntityTooLarge, policy.CredentialMalformed, "The body is larger than 16 KiB.")
}

// takeForm takes the fields that the API knows. Others are ignored.
func (c *Call) takeForm(body string) *Answer {
	form, err := url.ParseQuery(body)
	if err != nil { // which would quote the body
		return refusal(http.StatusBadRequest, policy.CredentialMalformed, "The body is no form: every value is percent-encoded, and & stands between fields.")
	}
	field := func(name string) string {
		if values := form[name]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
	for _, name := range []string{"sid", "spw", "epi", "ipa"} {
		if len(form[name]) > 1 {
			return refusal(http.StatusBadRequest, policy.CredentialAmbiguous, "The field "+name+" is given twice: send it once.")
		}
	}
	c.serviceID, c.password = field("sid"), policy.NewSecret(field("spw"))
	c.epi, c.ipa = field("epi"), field("ipa")
	return c.checkCredentials()
}

// checkCredentials says whether there is one way to know who calls.
func (c *Call) checkCredentials() *Answer {
	service := c.serviceID != "" || !c.password.Empty()
	switch {
	case !c.key.Empty() && service:
		return refusal(http.StatusBadRequest, policy.CredentialAmbiguous, "There are two credentials: send sid and spw, or an Authorization header, and not both.")
	case c.key.Empty() && (c.serviceID == "" || c.password.Empty()):
		return Refusal(policy.CredentialMissing)
	}
	return nil
}
