package credential

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// basicAPI has its key as the password of a user, as a token, and in the query.
var basicAPI = func() *dialect.API {
	places := []dialect.Place{
		{Location: dialect.Header, Name: "Authorization", Scheme: "Basic", User: "apikey"},
		{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"},
		{Location: dialect.Query, Name: "access_token"},
	}
	return &dialect.API{Name: "basic", Places: places, Routes: []dialect.Route{
		{Method: http.MethodGet, Path: "/v1/models", Operation: policy.Info, Keys: places},
		{Method: http.MethodPost, Path: "/v1/recognize", Operation: policy.Recognize, Keys: places[:1], UpstreamKey: &places[0]},
	}}
}()

func basicRequest(query string, authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/models?"+query, nil)
	r.Header["Authorization"] = authorization
	return r
}

func encoded(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func TestR1_AKeyCanBeThePasswordOfAUser(t *testing.T) {
	t.Parallel()
	const otherUser = "the header has the scheme Basic, and not the user of the API"
	for name, test := range map[string]struct {
		values []string
		key    string // empty if the request has no usable key
		reason policy.Reason
		detail string
	}{
		"as RFC 7617 has it":    {[]string{encoded("apikey:" + clientKey)}, clientKey, 0, ""},
		"in small letters":      {[]string{strings.Replace(encoded("apikey:"+clientKey), "Basic ", "basic  ", 1)}, clientKey, 0, ""},
		"with a colon":          {[]string{encoded("apikey:a:b:")}, "a:b:", 0, ""},
		"beside the token":      {[]string{encoded("apikey:" + clientKey), "Bearer " + clientKey}, clientKey, 0, ""},
		"twice":                 {[]string{encoded("apikey:" + clientKey), encoded("apikey:" + clientKey)}, clientKey, 0, ""},
		"an empty password":     {[]string{encoded("apikey:")}, "", policy.CredentialMissing, "the request has no key: want it in the header Authorization: Basic"},
		"the scheme alone":      {[]string{"Basic"}, "", policy.CredentialMissing, "the request has no key"},
		"no base64":             {[]string{"Basic " + clientKey + "!"}, "", policy.CredentialMalformed, otherUser},
		"base64 that is cut":    {[]string{encoded("apikey:" + clientKey)[:20]}, "", policy.CredentialMalformed, otherUser},
		"no colon":              {[]string{encoded(clientKey)}, "", policy.CredentialMalformed, otherUser},
		"the user alone":        {[]string{encoded("apikey")}, "", policy.CredentialMalformed, otherUser},
		"another user":          {[]string{encoded("root:" + clientKey)}, "", policy.CredentialMalformed, otherUser},
		"the user in capitals":  {[]string{encoded("APIKEY:" + clientKey)}, "", policy.CredentialMalformed, otherUser},
		"no user":               {[]string{encoded(":" + clientKey)}, "", policy.CredentialMalformed, otherUser},
		"a bad one and a token": {[]string{encoded("root:" + clientKey), "Bearer " + clientKey}, "", policy.CredentialMalformed, otherUser},
		"another token":         {[]string{encoded("apikey:" + clientKey), "Bearer " + otherKey}, "", policy.CredentialAmbiguous, twoKeys},
		"two passwords":         {[]string{encoded("apikey:" + clientKey), encoded("apikey:" + otherKey)}, "", policy.CredentialAmbiguous, twoKeys},
		"a line in the key":     {[]string{encoded("apikey:" + clientKey + "\n")}, "", policy.CredentialMalformed, notVisible},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := Scan(basicRequest("", test.values...), basicAPI, &basicAPI.Routes[0])
			secret, fault := f.Key()
			if test.key != "" {
				if fault != nil || secret.Reveal() != test.key {
					t.Errorf("the key %q, %v", secret.Reveal(), fault)
				}
				return
			}
			if fault == nil || fault.Reason != test.reason || !strings.HasPrefix(fault.Detail, test.detail) || strings.Contains(fault.Error(), clientKey) {
				t.Errorf("the key %q, %v", secret.Reveal(), fault)
			}
		})
	}
}

// The upstream key is the password of the same user. A field without a key gets none.
func TestR19_ThePasswordOfAUserIsReplaced(t *testing.T) {
	t.Parallel()
	ours := encoded("apikey:" + upstreamKey)
	for name, test := range map[string]struct {
		route         int
		query         string
		authorization string
		want          []string
		wantQuery     string
	}{
		"in its place":            {0, "", encoded("apikey:" + clientKey), []string{ours}, ""},
		"a token becomes it":      {0, "", "Bearer " + clientKey, []string{ours}, ""},
		"in the query":            {0, "access_token=CLIENTKEY0123456789%2B%2F%3D&x=1", "", nil, "access_token=" + replace.inQuery() + "&x=1"},
		"an empty password":       {0, "access_token=CLIENTKEY0123456789%2B%2F%3D", encoded("apikey:"), nil, "access_token=" + replace.inQuery()},
		"in the place for it":     {1, "", encoded("apikey:" + clientKey), []string{ours}, ""},
		"and the query is unread": {1, "access_token=CLIENTKEY0123456789%2B%2F%3D&x=1", encoded("apikey:" + clientKey), []string{ours}, "x=1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := basicRequest(test.query, test.authorization)
			if test.authorization == "" {
				r.Header.Del("Authorization")
			}
			f := Scan(r, basicAPI, &basicAPI.Routes[test.route])
			if secret, fault := f.Key(); fault != nil || secret.Reveal() != clientKey {
				t.Fatalf("the key %q, %v", secret.Reveal(), fault)
			}
			f.Rewrite(r, replace)
			if got := r.Header["Authorization"]; strings.Join(got, "\n") != strings.Join(test.want, "\n") || r.URL.RawQuery != test.wantQuery {
				t.Errorf("the backend gets %q and %q", got, r.URL.RawQuery)
			}
		})
	}
}

func TestR1_BasicCredentialsAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.Just("apikey:"), rapid.Just("")).Draw(t, "user") + rapid.String().Draw(t, "password")
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", encoded(text))
		user, password, ok := r.BasicAuth()
		got, fault := basicPassword(strings.TrimPrefix(encoded(text), "Basic "), "apikey")
		if want := ok && user == "apikey"; text != "" && (fault == nil) != want || fault == nil && got != password {
			t.Fatalf("%q: %q, %v; the standard library reads %q, %q, %v", text, got, fault, user, password, ok)
		}
		if fault == nil && text != "" && basicCredentials("apikey", got) != strings.TrimPrefix(encoded(text), "Basic ") {
			t.Fatalf("%q is not encoded back", text)
		}
	})
}
