package issuance

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A form whose field is like ipa or epi must not give a key that is valid from anywhere, or for
// another time.
func TestIssue_RefusesAFieldThatIsLikeAMissingOne(t *testing.T) {
	t.Parallel()
	for name, meant := range map[string]string{
		"ip": "ipa", "IP": "ipa", "pa": "ipa", "iap": "ipa", "ips": "ipa", "ipas": "ipa", "ip4": "ipa", "ipx1": "ipa", "ip[]": "ipa",
		"ipaddr": "ipa", "ip_address": "ipa", "ipAddress": "ipa", "IP Addresses": "ipa", "ipv": "ipa",
		"ep": "epi", "eip": "epi", "api": "epi", "exp": "epi", "epi:60000": "epi", "EPI=": "epi",
		"id": "sid", "uid": "sid", "side": "sid", "s_id2": "sid",
		"pw": "spw", "psw": "spw", "pwd": "spw", "spwd": "spw", "spw:": "spw",
		"spi": "epi or spw", "spix": "epi, sid or spw",
	} {
		form := url.Values{"sid": {"a"}, "spw": {"b"}, name: {"x"}}
		if strings.HasPrefix(meant, "s") || strings.Contains(meant, " or ") {
			form.Del("sid")
			form.Del("spw")
		} else if fault := readFields(t, url.Values{name: {"x"}}, "a-key"); fault == nil || !strings.HasSuffix(fault.Text, "did you mean "+meant+"?") {
			t.Errorf("%q: the call by key is answered with %+v", name, fault)
		}
		if got := misspelled(name, form, false); got != meant {
			t.Errorf("%q is like %q, want %q", name, got, meant)
		}
		fault := readFields(t, form, "")
		if fault == nil || fault.Status != http.StatusBadRequest || !strings.HasSuffix(fault.Text, "did you mean "+meant+"?") {
			t.Errorf("%q: the call is answered with %+v", name, fault)
		}
	}
}

// Another spelling of a known name is refused in every call, also beside the known one.
func TestIssue_RefusesAnotherSpellingOfAField(t *testing.T) {
	t.Parallel()
	for name, meant := range map[string]string{
		"IPA": "ipa", "Ipa": "ipa", "ipa[]": "ipa", "data[ipa]": "ipa", "params.epi": "epi", "allow_ipa": "ipa", "ip-a": "ipa", " ipa": "ipa", "ipa ": "ipa", "\ufeffipa": "ipa", "ｉｐａ": "ipa", "ＩＰＡ": "ipa",
		"EPI": "epi", "Epi": "epi", "epi_": "epi", "SID": "sid", "Sid": "sid", "SPW": "spw", "SpW": "spw",
	} {
		for _, form := range []url.Values{{"sid": {"a"}, "spw": {"b"}, "epi": {"1h"}, "ipa": {"192.0.2.1"}}, {}} {
			form.Set(name, "x")
			fault := readFields(t, form, "")
			if fault == nil || fault.Status != http.StatusBadRequest || !strings.HasSuffix(fault.Text, "did you mean "+meant+"?") {
				t.Errorf("%v: the call is answered with %+v", form, fault)
			}
		}
		if fault := readFields(t, url.Values{name: {"x"}}, "a-key"); fault == nil || fault.Status != http.StatusBadRequest {
			t.Errorf("%q: the call by key is answered with %+v", name, fault)
		}
	}
}

// Fields that tools and programs add to a form are ignored.
func TestIssue_IgnoresOtherFields(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "_", "u", "d", "a", "c", "e", "i", "t", "v", "ts", "ua", "os", "key", "tag", "ver", "ttl", "url", "env", "end", "app", "lang", "name", "user", "email", "label", "type", "mode",
		"format", "client", "device", "callback", "csrf_token", "_method", "utf8", "submit", "timestamp", "request_id", "customer_id", "user_id", "authorization", "appkey", "grammarFileNames", "X-Requested-With", "キー",
	} {
		for key, form := range map[string]url.Values{"": {"sid": {"a"}, "spw": {"b"}}, "a-key": {}} {
			form.Set(name, "x")
			if fault := readFields(t, form, key); fault != nil {
				t.Errorf("%v: the call is answered with %+v", form, fault)
			}
		}
	}
	whole := url.Values{"sid": {"a"}, "spw": {"b"}, "epi": {"1h"}, "ipa": {"192.0.2.1"}, "id": {"7"}, "uid": {"7"}, "api": {"v1"}, "ip": {"192.0.2.1"}, "exp": {"no"}, "pw": {""}, "ipa2": {""}, "ｱipa": {""}}
	if fault := readFields(t, whole, ""); fault != nil {
		t.Errorf("a call that has all known fields is answered with %+v", fault)
	}
	if fault := readFields(t, url.Values{"id": {"7"}, "pwd": {""}, "uid": {"7"}}, "a-key"); fault != nil {
		t.Errorf("a call by key, which needs neither sid nor spw, is answered with %+v", fault)
	}
}

// One change of the name of a missing field never hides it.
func TestIssue_OneChangeOfAKnownNameIsSeen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.SampledFrom(fieldNames()).Draw(t, "name")
		at := rapid.IntRange(0, len(known)-1).Draw(t, "at")
		letter := rapid.StringMatching("[a-z]").Draw(t, "letter")
		for _, name := range []string{
			known[:at] + known[at+1:], known[:at] + letter + known[at+1:], known[:at] + letter + known[at:],
			known[:at] + strings.ToUpper(known[at:]), known + letter, " " + known, known + "[]",
		} {
			form := url.Values{name: {"x"}}
			if misspelled(name, form, false) == "" && !slices.Contains(fieldNames(), name) {
				t.Fatalf("%q is like no name", name)
			}
		}
	})
}

// readFields reads a form, and returns its refusal.
func readFields(t *testing.T, form url.Values, key string) *Result {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/issue_service_authorization", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	return ReadKeyRequest(r).fault
}
