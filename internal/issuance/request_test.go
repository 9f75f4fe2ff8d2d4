package issuance

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/speechgate/speechgate/policy"
)

const formType = "application/x-www-form-urlencoded"

// post returns a request with this body and these fields of the header. Its Content-Length
// is unknown if the body is not in memory.
func post(t *testing.T, body io.Reader, header http.Header) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/issue_service_authorization", body)
	maps.Copy(r.Header, header)
	return r
}

func bearerOf(keys ...string) http.Header {
	header := http.Header{"Content-Type": {formType}}
	for _, key := range keys {
		header.Add("Authorization", "Bearer "+key)
	}
	return header
}

// A form that breaks off could lack its ipa or the end of its epi. No key may be issued.
func TestReadKeyRequest_ABodyThatBreaksOffIsRefused(t *testing.T) {
	t.Parallel()
	const body = "epi=60000&ipa=192.0.2.7"
	for n := range len(body) + 1 {
		for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("i/o timeout")} {
			broken := io.MultiReader(strings.NewReader(body[:n]), iotest.ErrReader(cause))
			k := ReadKeyRequest(post(t, broken, bearerOf("a-key")))
			if k.fault == nil || k.fault.Status != http.StatusBadRequest || k.fault.Reason != policy.CredentialMalformed || k.fault.Text != "The body did not arrive whole." {
				t.Errorf("after %d bytes: %+v", n, k.fault)
			}
			if k.BodyRead() {
				t.Errorf("after %d bytes the body counts as read", n)
			}
		}
	}
	k := ReadKeyRequest(post(t, iotest.OneByteReader(strings.NewReader(body)), bearerOf("a-key")))
	if k.fault != nil || k.epi != "60000" || k.ipa != "192.0.2.7" || !k.BodyRead() {
		t.Errorf("a body that arrives whole: %+v", k)
	}
}

func TestReadKeyRequest_ReadsOrSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	const service = "sid=s&spw=p"
	const (
		wrongID       = "The field sid has a space, a line break or a character beyond ASCII: send the service ID alone."
		wrongPassword = "The field spw has a line break or another control character, or is not UTF-8: send the service password alone."
		padded        = "The field spw has a space before or behind the service password: send the service password alone."
	)
	full := service + "&x=" + strings.Repeat("x", maxBody-len(service)-3)
	for name, tt := range map[string]struct {
		change   func(r *http.Request)
		body     string
		header   http.Header
		status   int // 0: it is read
		reason   policy.Reason
		text     string // a part of the answer
		bodyRead bool
	}{
		"service ID and password":        {nil, service, bearerOf(), 0, 0, "", true},
		"a key":                          {nil, "epi=1s", bearerOf("a-key"), 0, 0, "", true},
		"a key and no body":              {nil, "", http.Header{"Authorization": {"Bearer a-key"}}, 0, 0, "", true},
		"the largest body":               {nil, full, bearerOf(), 0, 0, "", true},
		"the largest body, in chunks":    {func(r *http.Request) { r.ContentLength = -1 }, full, bearerOf(), 0, 0, "", true},
		"a type with a parameter":        {nil, service, http.Header{"Content-Type": {formType + "; charset=UTF-8"}}, 0, 0, "", true},
		"no body at all":                 {func(r *http.Request) { r.Body, r.ContentLength = nil, -1 }, "", bearerOf("a-key"), 0, 0, "", true},
		"another method":                 {func(r *http.Request) { r.Method = http.MethodPut }, service, bearerOf(), 405, policy.OperationUnlisted, "Only POST", false},
		"a query":                        {func(r *http.Request) { r.URL.RawQuery = "sid=s" }, service, bearerOf(), 400, policy.CredentialMalformed, "The URL has a query", false},
		"a larger body":                  {nil, full + "x", bearerOf(), 413, policy.CredentialMalformed, "16 KiB", false},
		"a larger body, in chunks":       {func(r *http.Request) { r.ContentLength = -1 }, full + "x", bearerOf(), 413, policy.CredentialMalformed, "16 KiB", false},
		"two keys":                       {nil, "epi=1s", bearerOf("a-key", "b-key"), 400, policy.CredentialAmbiguous, "two Authorization headers", false},
		"another scheme":                 {nil, "epi=1s", http.Header{"Content-Type": {formType}, "Authorization": {"Basic YTpi"}}, 401, policy.CredentialMalformed, "not valid", false},
		"no type":                        {nil, service, http.Header{}, 415, policy.CredentialMalformed, "Content-Type", false},
		"two types":                      {nil, service, http.Header{"Content-Type": {formType, formType}}, 415, policy.CredentialMalformed, "Content-Type", false},
		"another type":                   {nil, service, http.Header{"Content-Type": {"text/plain"}}, 415, policy.CredentialMalformed, "Content-Type", false},
		"a type that cannot be read":     {nil, service, http.Header{"Content-Type": {formType + "; ="}}, 415, policy.CredentialMalformed, "Content-Type", false},
		"an encoding":                    {nil, service, http.Header{"Content-Type": {formType}, "Content-Encoding": {"gzip"}}, 415, policy.CredentialMalformed, "Content-Type", false},
		"no form":                        {nil, "%zz", bearerOf("a-key"), 400, policy.CredentialMalformed, "The body is no form", true},
		"no credentials":                 {nil, "epi=1s", bearerOf(), 401, policy.CredentialMissing, "Credentials are missing", true},
		"no credentials, and no body":    {nil, "", http.Header{}, 401, policy.CredentialMissing, "Credentials are missing", true},
		"a service ID alone":             {nil, "sid=s", bearerOf(), 401, policy.CredentialMissing, "Credentials are missing", true},
		"a service password alone":       {nil, "spw=p", bearerOf(), 401, policy.CredentialMissing, "Credentials are missing", true},
		"a key and a service ID":         {nil, "sid=s", bearerOf("a-key"), 400, policy.CredentialAmbiguous, "two credentials", true},
		"a key and a service password":   {nil, "spw=p", bearerOf("a-key"), 400, policy.CredentialAmbiguous, "two credentials", true},
		"a field twice":                  {nil, service + "&ipa=&ipa=192.0.2.7", bearerOf(), 400, policy.CredentialAmbiguous, "The field ipa is given twice", true},
		"a service ID of any characters": {nil, "sid=!s~&spw=p", bearerOf(), 0, 0, "", true},
		"a space behind a service ID":    {nil, "sid=s%20&spw=p", bearerOf(), 400, policy.CredentialMalformed, wrongID, true},
		"a tab before a service ID":      {nil, "sid=%09s&spw=p", bearerOf(), 400, policy.CredentialMalformed, wrongID, true},
		"a DEL in a service ID":          {nil, "sid=s%7F&spw=p", bearerOf(), 400, policy.CredentialMalformed, wrongID, true},
		"a letter beyond ASCII":          {nil, "sid=s%C3%A9&spw=p", bearerOf(), 400, policy.CredentialMalformed, wrongID, true},
		"a password with spaces":         {nil, "sid=s&spw=%20p%20q%20", bearerOf(), 0, 0, "", true},
		"a password beyond ASCII":        {nil, "sid=s&spw=p%C3%A9", bearerOf(), 0, 0, "", true},
		"a line break behind a password": {nil, "sid=s&spw=p%0A", bearerOf(), 400, policy.CredentialMalformed, wrongPassword, true},
		"a password that is not UTF-8":   {nil, "sid=s&spw=p%FF", bearerOf(), 400, policy.CredentialMalformed, wrongPassword, true},
		"a password of the gateway":      {nil, "sid=s&spw=" + policy.ServicePasswordPrefix + "x", bearerOf(), 0, 0, "", true},
		"a space before such a password": {nil, "sid=s&spw=%20" + policy.ServicePasswordPrefix + "x", bearerOf(), 400, policy.CredentialMalformed, padded, true},
		"a space behind such a password": {nil, "sid=s&spw=" + policy.ServicePasswordPrefix + "x%20", bearerOf(), 400, policy.CredentialMalformed, padded, true},
		"a field that is unknown twice":  {nil, service + "&x=1&x=2", bearerOf(), 0, 0, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := post(t, bytes.NewReader([]byte(tt.body)), tt.header)
			if tt.change != nil {
				tt.change(r)
			}
			k := ReadKeyRequest(r)
			if k.BodyRead() != tt.bodyRead {
				t.Errorf("BodyRead is %v", k.BodyRead())
			}
			switch {
			case tt.status == 0 && k.fault != nil:
				t.Errorf("refused: %+v", k.fault)
			case tt.status != 0 && (k.fault == nil || k.fault.Status != tt.status || k.fault.Reason != tt.reason || !strings.Contains(k.fault.Text, tt.text)):
				t.Errorf("got %+v, want %d %v %q", k.fault, tt.status, tt.reason, tt.text)
			case tt.status != 0 && k.fault.Challenge != (tt.status == http.StatusUnauthorized):
				t.Errorf("the answer %d has a challenge: %v", tt.status, k.fault.Challenge)
			}
		})
	}
}
