package credential

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// uploadPaths are the paths of the operations with audio.
var uploadPaths = []string{"/v1/recognize", "/v1/nolog/recognize", "/v1/recognitions", "/v2/recognitions"}

// The vendor's plugins send the key of an upload in the header, and a form with the parts
// d and a.
func TestR1_ABearerKeyAuthenticatesAnUpload(t *testing.T) {
	t.Parallel()
	form := part("d", "-a-general") + aPart + end
	for _, test := range []struct {
		name, query, contentType, body string
		values                         []string // of Authorization
		want                           policy.Reason
		copies                         int // outside the header
		detail                         string
	}{
		{"the plugins' form", "", formType, form, []string{"Bearer " + clientKey}, policy.Undecided, 0, ""},
		{"a raw body", "d=-a-general", "audio/wav", "RIFF", []string{"bearer " + clientKey}, policy.Undecided, 0, ""},
		{"the same key in the part u", "", formType, uPart + form, []string{"Bearer " + clientKey}, policy.Undecided, 1, ""},
		{"the same key in d", "", formType, part("d", "authorization="+escaped) + aPart + end, []string{"Bearer " + clientKey}, policy.Undecided, 1, ""},
		{"the same key in the query", "u=" + escaped, formType, form, []string{"Bearer " + clientKey}, policy.Undecided, 1, ""},
		{"the same key in every place", "u=" + escaped, formType, uPart + uPart + form, []string{"Bearer " + clientKey, "BEARER " + clientKey}, policy.Undecided, 3, ""},
		{"the scheme alone, and a key in u", "", formType, uPart + form, []string{"Bearer "}, policy.Undecided, 1, ""},
		{"an empty header, and a key in u", "", formType, uPart + form, []string{""}, policy.Undecided, 1, ""},
		{"another key in the part u", "", formType, evil + form, []string{"Bearer " + clientKey}, policy.CredentialAmbiguous, 0, twoKeys},
		{"another key in the query", "u=" + otherKey, formType, form, []string{"Bearer " + clientKey}, policy.CredentialAmbiguous, 0, twoKeys},
		{"two headers that differ", "", formType, form, []string{"Bearer " + clientKey, "Bearer " + otherKey}, policy.CredentialAmbiguous, 0, twoKeys},
		{"another scheme beside u", "", formType, uPart + form, []string{"Basic Og=="}, policy.CredentialAmbiguous, 0, twoKeys},
		{"another scheme", "", formType, form, []string{"Basic Og=="}, policy.CredentialMalformed, 0, otherScheme + "Bearer"},
		{"the scheme alone", "", formType, form, []string{"Bearer"}, policy.CredentialMissing, 0, noKeyInForm},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, path := range uploadPaths {
				request := func() *http.Request {
					r := upload(test.query, test.contentType, test.body)
					r.URL.Path = path
					r.Header["Authorization"] = slices.Clone(test.values)
					return r
				}
				if test.want != policy.Undecided {
					refuse(t, request(), test.want, test.detail)
					continue
				}
				r := request()
				accept(t, r, replace)
				want := []string{"Bearer " + upstreamKey}
				if !strings.Contains(test.values[0], clientKey) {
					want = nil // a place without a key gets no upstream key
				}
				if got := r.Header["Authorization"]; !slices.Equal(got, want) {
					t.Errorf("%s: Authorization went upstream as %q, want %q", path, got, want)
				}
				sent := decodeAll(r.URL.RawQuery) + strings.ReplaceAll(decodeAll(readBody(t, r)), " ", "+")
				if strings.Contains(sent, "CLIENTKEY") || strings.Count(sent, "UPSTREAM") != test.copies {
					t.Errorf("%s: went upstream as %q, want the backend's key %d times", path, sent, test.copies)
				}
				r = request()
				accept(t, r, drop)
				if _, ok := r.Header["Authorization"]; ok {
					t.Errorf("%s: Authorization was not dropped", path)
				}
				r = request()
				accept(t, r, pass)
				if got := r.Header["Authorization"]; !slices.Equal(got, test.values) {
					t.Errorf("%s: Authorization passed as %q, want %q", path, got, test.values)
				}
			}
		})
	}
}

// A client that forgets the scheme sends its key alone. The gateway reads the whole value,
// and never a part of it: the word of a scheme ends at a space.
func TestR1_AValueWithoutASchemeIsTheKeyItself(t *testing.T) {
	t.Parallel()
	for _, value := range []string{ourKey, "Bearer" + ourKey, "bearer" + clientKey, "Bearer_" + clientKey, "B", "Beare", "Bearerr"} {
		r := poll("")
		r.Header["Authorization"] = []string{value}
		f, secret, fault := find(t, r, testMaxHead)
		if fault != nil || secret.Reveal() != value {
			t.Errorf("Authorization: %s has the key %q, %v", value, secret.Reveal(), fault)
			continue
		}
		if f.Rewrite(r, replace); !slices.Equal(r.Header["Authorization"], []string{"Bearer " + upstreamKey}) {
			t.Errorf("Authorization: %s went upstream as %q", value, r.Header["Authorization"])
		}
	}
}

// A name can be a place in one location, and mean something else in another.
func TestR1_APlaceIsOneLocation(t *testing.T) {
	t.Parallel()
	query := dialect.Place{Location: dialect.Query, Name: "Key"}
	header := dialect.Place{Location: dialect.Header, Name: "Key"}
	token := dialect.Place{Location: dialect.Header, Name: "Token"}
	inPart := dialect.Place{Location: dialect.Part, Name: "Key"}
	for _, test := range []struct {
		name       string
		all, read  []dialect.Place
		query      string
		header     http.Header
		want       string // the key; empty if it is missing
		sentQuery  string // by Replace
		sentHeader http.Header
	}{
		{
			"the query, beside a header",
			[]dialect.Place{query, inPart, token},
			[]dialect.Place{query},
			"Key=K",
			http.Header{"Key": {"other"}, "Other": {"x"}},
			"K", "Key=UP",
			http.Header{"Key": {"other"}, "Other": {"x"}},
		},
		{
			"the header, beside a query",
			[]dialect.Place{header, inPart, token},
			[]dialect.Place{header},
			"Key=other",
			http.Header{"Key": {"K"}, "Other": {"x"}},
			"K", "Key=other",
			http.Header{"Key": {"UP"}, "Other": {"x"}},
		},
		{
			"the query, and a header that is not read",
			[]dialect.Place{query, token},
			[]dialect.Place{query},
			"Key=K",
			http.Header{"Token": {"K"}},
			"K", "Key=UP",
			http.Header{},
		},
		{
			"only a header that is not read",
			[]dialect.Place{query, token},
			[]dialect.Place{query},
			"",
			http.Header{"Token": {"K"}},
			"", "", nil,
		},
		{
			"a header with another name",
			[]dialect.Place{header, token},
			[]dialect.Place{token},
			"",
			http.Header{"Key": {"K"}},
			"", "", nil,
		},
	} {
		r := poll(test.query)
		r.Header = test.header
		f := Scan(r, &dialect.API{Places: test.all}, &dialect.Route{Keys: test.read})
		secret, fault := f.Key()
		if test.want == "" {
			if fault == nil || fault.Reason != policy.CredentialMissing {
				t.Errorf("%s: the key is %q, %v", test.name, secret.Reveal(), fault)
			}
			continue
		}
		if fault != nil || secret.Reveal() != test.want {
			t.Errorf("%s: the key is %q, %v", test.name, secret.Reveal(), fault)
			continue
		}
		f.Rewrite(r, ReplaceWith(policy.NewSecret("UP")))
		if r.URL.RawQuery != test.sentQuery || !reflect.DeepEqual(r.Header, test.sentHeader) {
			t.Errorf("%s: went upstream as %s and %v, want %s and %v", test.name, r.URL.RawQuery, r.Header, test.sentQuery, test.sentHeader)
		}
	}
}

// A scheme belongs to the places of its own field.
func TestR1_ASchemeBelongsToItsField(t *testing.T) {
	t.Parallel()
	query := dialect.Place{Location: dialect.Query, Name: "Key"}
	token := dialect.Place{Location: dialect.Header, Name: "Key", Scheme: "Token"}
	bearer := dialect.Place{Location: dialect.Header, Name: "Other", Scheme: "Bearer"}
	plain := dialect.Place{Location: dialect.Header, Name: "Plain"}
	scan := func(header http.Header, read ...dialect.Place) (*http.Request, Found) {
		r := poll("")
		r.Header = header
		return r, Scan(r, &dialect.API{Places: read}, &dialect.Route{Keys: read})
	}
	for _, read := range [][]dialect.Place{{query, token}, {token, query}, {token, bearer}, {bearer, token}} {
		_, f := scan(http.Header{"Key": {"Bearer K"}}, read...)
		if _, fault := f.Key(); fault == nil || fault.Detail != "the header Key has another scheme than Token" {
			t.Errorf("the scheme of another place: %v", fault)
		}
		r, f := scan(http.Header{"Key": {"Token K"}}, read...)
		if f.Rewrite(r, ReplaceWith(policy.NewSecret("UP"))); r.Header.Get("Key") != "Token UP" {
			t.Errorf("went upstream as %q", r.Header)
		}
	}
	_, f := scan(http.Header{"Plain": {"Bearer K"}}, plain)
	if _, fault := f.Key(); fault == nil || fault.Reason != policy.CredentialMalformed || !strings.HasPrefix(fault.Detail, "the header Plain has a space") {
		t.Errorf("a scheme before a key that has none: %v", fault)
	}
}

// The clients of one API can use several schemes in one field, such as Deepgram's.
func TestR1_AFieldCanHaveSeveralSchemes(t *testing.T) {
	t.Parallel()
	places := []dialect.Place{
		{Location: dialect.Header, Name: "Authorization", Scheme: "Token"},
		{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"},
	}
	for _, test := range []struct {
		name   string
		values []string
		read   []dialect.Place
		want   policy.Reason // Undecided if the key is found
		sent   []string      // what Replace sends
	}{
		{"the first", []string{"token " + clientKey}, places, policy.Undecided, []string{"Token " + upstreamKey}},
		{"the second", []string{"Bearer " + clientKey}, places, policy.Undecided, []string{"Token " + upstreamKey}},
		{"both, the same key", []string{"Bearer " + clientKey, "Token " + clientKey}, places, policy.Undecided, []string{"Token " + upstreamKey}},
		{"the second, where only that is read", []string{"Bearer " + clientKey}, places[1:], policy.Undecided, []string{"Bearer " + upstreamKey}},
		{"the first, where only the second is read", []string{"Token " + clientKey}, places[1:], policy.CredentialMissing, nil},
		{"both, different keys", []string{"Bearer " + clientKey, "Token " + otherKey}, places, policy.CredentialAmbiguous, nil},
		{"a third", []string{"Basic " + clientKey}, places, policy.CredentialMalformed, nil},
		{"no key", []string{"Bearer "}, places, policy.CredentialMissing, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := poll("")
			r.Header["Authorization"] = test.values
			f := Scan(r, &dialect.API{Places: places}, &dialect.Route{Keys: test.read})
			secret, fault := f.Key()
			if test.want != policy.Undecided {
				if fault == nil || fault.Reason != test.want {
					t.Errorf("%v, want %v", fault, test.want)
				}
				return
			}
			if fault != nil || secret.Reveal() != clientKey {
				t.Fatalf("the key is %q, %v", secret.Reveal(), fault)
			}
			if f.Rewrite(r, replace); !slices.Equal(r.Header["Authorization"], test.sent) {
				t.Errorf("Authorization went upstream as %q, want %q", r.Header["Authorization"], test.sent)
			}
		})
	}
	r := poll("u=K")
	r.Header["Authorization"] = []string{"Bearer "}
	withQuery := append([]dialect.Place{{Location: dialect.Query, Name: "u"}}, places...)
	f := Scan(r, &dialect.API{Places: withQuery}, &dialect.Route{Keys: withQuery})
	if f.Rewrite(r, replace); len(r.Header["Authorization"]) != 0 {
		t.Errorf("a field without a key went upstream as %q", r.Header["Authorization"])
	}
}

func TestR1_AKeyThatHasNoSchemeIsRefusedBehindOne(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"Bearer " + clientKey, "Token " + clientKey, clientKey + " " + clientKey} {
		r := httptest.NewRequest(http.MethodGet, "/v2/transcript", nil)
		r.Header.Set("Authorization", value)
		found := Scan(r, dialect.AssemblyAI, dialect.AssemblyAI.Classify(r.Method, r.URL.Path).Route)
		_, fault := found.Key()
		if fault == nil || fault.Reason != policy.CredentialMalformed || !strings.Contains(fault.Detail, "want the key alone, without a scheme") || strings.Contains(fault.Detail, clientKey) {
			t.Errorf("a key as %q: %+v; want a fault that speaks of the scheme", value, fault)
		}
	}
}
