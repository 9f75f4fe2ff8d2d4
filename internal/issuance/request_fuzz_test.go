package issuance

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzReadCall: every body is refused, or is read as Go's form parser reads it.
func FuzzReadCall(f *testing.F) {
	for _, body := range []string{
		"", "sid=a&spw=p%40ss%20w%26rd&epi=60000", "sid=a&sid=b", "epi=1;ipa=2", "%zz", "sid=%00&spw=\xff", "=&=&&", "sid", "a=b&sid=c&spw=d&ipa=1+2",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/issue_service_authorization", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		c := ReadKeyRequest(r)
		if c.fault != nil {
			if c.fault.Text == "" || c.fault.Status < 400 || c.fault.Reason.OK() {
				t.Fatalf("refused with %+v", c.fault)
			}
			return
		}
		form, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("read %q, which is no form", body)
		}
		for name, got := range map[string]string{"sid": c.serviceID, "spw": c.password.Reveal(), "epi": c.epi, "ipa": c.ipa} {
			if len(form[name]) > 1 || form.Get(name) != got {
				t.Fatalf("%s is %q in %q", name, got, body)
			}
		}
		if c.serviceID == "" || c.password.Empty() {
			t.Fatalf("a call of nobody was read from %q", body)
		}
	})
}
