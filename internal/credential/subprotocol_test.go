package credential

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// handshake returns the handshake of a stream with these lines of Sec-WebSocket-Protocol, and this
// value of Authorization.
func handshake(api *dialect.API, authorization string, lines ...string) (*http.Request, *dialect.Route) {
	i := slices.IndexFunc(api.Routes, func(r dialect.Route) bool { return r.Operation == policy.Stream })
	return requestWith(&api.Routes[i], authorization, lines), &api.Routes[i]
}

func requestWith(route *dialect.Route, authorization string, lines []string) *http.Request {
	r := httptest.NewRequest(route.Method, route.Path, nil)
	if len(lines) > 0 {
		r.Header[subprotocolHeader] = slices.Clone(lines)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

const (
	noStreamKey  = "the request has no key: want it in the header Authorization"
	notASCII     = "a subprotocol has a character that is not visible ASCII"
	otherWay     = " is spelled in another way"
	openAIPrefix = "openai-insecure-api-key."
)

func TestR1_AKeyCanBeASubprotocol(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		api           *dialect.API
		authorization string
		lines         []string
		left          string // what the backend is offered; the key is found
		reason        policy.Reason
		detail        string
	}{
		"after a name":               {api: dialect.Deepgram, lines: []string{"token, " + clientKey}},
		"after another name":         {api: dialect.Deepgram, lines: []string{"bearer," + clientKey}},
		"in two lines":               {api: dialect.Deepgram, lines: []string{"token", clientKey}},
		"among others":               {api: dialect.Deepgram, lines: []string{"v1, token", clientKey + ", x-deepgram-session-id", "7e1c"}, left: "v1, x-deepgram-session-id, 7e1c"},
		"with white space":           {api: dialect.Deepgram, lines: []string{"\t token\t ,\t" + clientKey + " ,"}},
		"with empty items":           {api: dialect.Deepgram, lines: []string{", token, ,", " ", "," + clientKey}},
		"twice the same":             {api: dialect.Deepgram, lines: []string{"token, " + clientKey + ", bearer, " + clientKey}},
		"and in the header":          {api: dialect.Deepgram, authorization: "Token " + clientKey, lines: []string{"token, " + clientKey + ", v1"}, left: "v1"},
		"and repeated":               {api: dialect.Deepgram, lines: []string{"token, " + clientKey + ", " + clientKey + ", v1"}, left: "v1"},
		"with a tilde":               {api: dialect.Deepgram, lines: []string{"token, " + clientKey + ", v~1"}, left: "v~1"},
		"a name alone, and a header": {api: dialect.Deepgram, authorization: "token " + clientKey, lines: []string{"token"}, left: "token"},
		"after a prefix":             {api: dialect.OpenAI, lines: []string{"realtime, " + openAIPrefix + clientKey + ", openai-beta.realtime-v1"}, left: "realtime, openai-beta.realtime-v1"},
		"an empty key after it":      {api: dialect.OpenAI, authorization: "Bearer " + clientKey, lines: []string{openAIPrefix + ", realtime"}, left: "realtime"},

		"a name alone":              {api: dialect.Deepgram, lines: []string{"v1, token"}, reason: policy.CredentialMissing, detail: noStreamKey},
		"a name and empty items":    {api: dialect.Deepgram, lines: []string{"token,", " , "}, reason: policy.CredentialMissing, detail: noStreamKey},
		"the key alone":             {api: dialect.Deepgram, lines: []string{clientKey}, reason: policy.CredentialMissing, detail: noStreamKey},
		"a prefix alone":            {api: dialect.OpenAI, lines: []string{"realtime, " + openAIPrefix}, reason: policy.CredentialMissing, detail: noStreamKey},
		"two keys":                  {api: dialect.Deepgram, lines: []string{"token, " + clientKey + ", bearer, " + otherKey}, reason: policy.CredentialAmbiguous, detail: twoKeys},
		"two keys in lines":         {api: dialect.OpenAI, lines: []string{openAIPrefix + clientKey, openAIPrefix + otherKey}, reason: policy.CredentialAmbiguous, detail: twoKeys},
		"another in the header":     {api: dialect.OpenAI, authorization: "Bearer " + otherKey, lines: []string{openAIPrefix + clientKey}, reason: policy.CredentialAmbiguous, detail: twoKeys},
		"a prefix of the header's":  {api: dialect.OpenAI, authorization: "Bearer " + clientKey, lines: []string{openAIPrefix + clientKey[:10]}, reason: policy.CredentialAmbiguous, detail: twoKeys},
		"a name twice":              {api: dialect.Deepgram, lines: []string{"token, token, " + clientKey}, reason: policy.CredentialAmbiguous, detail: twoKeys},
		"a name after a name":       {api: dialect.Deepgram, lines: []string{"token, bearer, " + clientKey}, reason: policy.CredentialAmbiguous, detail: twoKeys},
		"a space in the key":        {api: dialect.Deepgram, lines: []string{"token, " + clientKey + " " + otherKey}, reason: policy.CredentialMalformed, detail: notVisible},
		"a name in capitals":        {api: dialect.Deepgram, authorization: "Token " + clientKey, lines: []string{"Token, " + otherKey}, reason: policy.RequestMalformed, detail: "the subprotocol token" + otherWay},
		"a key like a name":         {api: dialect.Deepgram, authorization: "Token TOKEN", lines: []string{"token, TOKEN, " + otherKey}, reason: policy.RequestMalformed, detail: "the subprotocol token" + otherWay},
		"a wide space before a key": {api: dialect.Deepgram, lines: []string{"token, \u00a0" + clientKey}, reason: policy.RequestMalformed, detail: notASCII},
		"a copy after a wide space": {api: dialect.OpenAI, authorization: "Bearer " + clientKey, lines: []string{"realtime, \u00a0" + clientKey}, reason: policy.RequestMalformed, detail: notASCII},
		"an API without places":     {api: dialect.AmiVoice, lines: []string{"\u00a0" + clientKey}, reason: policy.CredentialMissing},
		"a name in quotation marks": {api: dialect.Deepgram, authorization: "Token " + clientKey, lines: []string{`"token", ` + otherKey}, reason: policy.RequestMalformed, detail: "the subprotocol token" + otherWay},
		"a name with an escape":     {api: dialect.Deepgram, authorization: "Token " + clientKey, lines: []string{"%74oken, " + otherKey}, reason: policy.RequestMalformed, detail: "the subprotocol token" + otherWay},
		"a prefix in capitals":      {api: dialect.OpenAI, authorization: "Bearer " + clientKey, lines: []string{"OpenAI-insecure-api-key." + otherKey}, reason: policy.RequestMalformed, detail: "the subprotocol openai-insecure-api-key." + otherWay},
		"a prefix after a quote":    {api: dialect.OpenAI, authorization: "Bearer " + clientKey, lines: []string{`"` + openAIPrefix + otherKey}, reason: policy.RequestMalformed, detail: "the subprotocol openai-insecure-api-key." + otherWay},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, route := handshake(test.api, test.authorization, test.lines...)
			f := Scan(r, test.api, route)
			secret, fault := f.Key()
			if test.reason != policy.Undecided {
				if fault == nil || fault.Reason != test.reason || !strings.HasPrefix(fault.Detail, test.detail) {
					t.Fatalf("the key %q, %v; want %v: %s", secret.Reveal(), fault, test.reason, test.detail)
				}
				return
			}
			if fault != nil || secret.Reveal() != clientKey {
				t.Fatalf("the key %q, %v", secret.Reveal(), fault)
			}
			f.Rewrite(r, replace)
			if got := strings.Join(r.Header[subprotocolHeader], "\n"); got != test.left {
				t.Errorf("the backend is offered %q, want %q", got, test.left)
			}
			if got := r.Header["Authorization"]; len(got) != 1 || got[0] != route.UpstreamKey.Scheme+" "+upstreamKey {
				t.Errorf("the backend gets %q", got)
			}
		})
	}
}

// A key in a subprotocol authenticates no request that is not a handshake, and does not go upstream.
func TestR1_ASubprotocolOfAnotherOperationAuthenticatesNothing(t *testing.T) {
	t.Parallel()
	route := dialect.Deepgram.Classify(http.MethodPost, "/v1/listen").Route
	f := Scan(requestWith(route, "", []string{"token, " + clientKey}), dialect.Deepgram, route)
	if _, fault := f.Key(); fault == nil || fault.Reason != policy.CredentialMissing || !strings.HasPrefix(fault.Detail, "the key is in the subprotocol after token, where this operation reads none") {
		t.Errorf("got %v", fault)
	}
	for mode, up := range upstreams {
		r := requestWith(route, "Token "+clientKey, []string{"token, " + clientKey + ", v1"})
		f := Scan(r, dialect.Deepgram, route)
		if _, fault := f.Key(); fault != nil {
			t.Fatal(fault)
		}
		f.Rewrite(r, up)
		if got := r.Header[subprotocolHeader]; len(got) != 1 || got[0] != "v1" {
			t.Errorf("%s: the backend is offered %q", mode, got)
		}
	}
}

func TestR16_OnlyAKnownSubprotocolIsOffered(t *testing.T) {
	t.Parallel()
	known := []string{"token", "bearer"}
	for want, lines := range map[string][]string{
		"":       {"v1, " + clientKey, "Token", "token2"},
		"token":  {"bearer, x", "v1,token", clientKey},
		"bearer": {"x,\tbearer ," + clientKey},
	} {
		if got := OffersSubprotocol(http.Header{subprotocolHeader: lines}, known); got != want {
			t.Errorf("%q: %q, want %q", lines, got, want)
		}
	}
}

// lenientKeys returns every key that some parser can read in the lines of a handshake: names and
// prefixes in any case, and the item after each name.
func lenientKeys(places []dialect.Place, lines []string) (keys []string) {
	var items []string
	for item := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	for i, item := range items {
		for _, p := range places {
			switch {
			case p.Location != dialect.Subprotocol:
			case p.Prefix != "" && len(item) > len(p.Prefix) && strings.EqualFold(item[:len(p.Prefix)], p.Prefix):
				keys = append(keys, item[len(p.Prefix):])
			case p.Name != "" && i > 0 && strings.EqualFold(items[i-1], p.Name):
				keys = append(keys, item)
			}
		}
	}
	return keys
}

// checkSubprotocols wants that no parser reads another key than the gate in a handshake, and that
// nothing of the client's key goes upstream.
func checkSubprotocols(t tester, api *dialect.API, route *dialect.Route, authorization string, lines []string, up Upstream) {
	t.Helper()
	r := requestWith(route, authorization, lines)
	f := Scan(r, api, route)
	secret, fault := f.UncheckedKey()
	if fault != nil {
		return
	}
	key := secret.Reveal()
	for _, other := range lenientKeys(api.Places, lines) {
		if other != key {
			t.Fatalf("%q: the gate reads %q, another parser %q", lines, key, other)
		}
	}
	f.Rewrite(r, up)
	after := r.Header[subprotocolHeader]
	if up.Mode == Pass {
		if reads := slices.ContainsFunc(route.Keys, func(p dialect.Place) bool { return p.Location == dialect.Subprotocol }); reads && !slices.Equal(after, lines) {
			t.Fatalf("%q passes as %q", lines, after)
		}
		return
	}
	for value := range strings.SplitSeq(strings.Join(after, ","), ",") {
		if strings.TrimSpace(value) == key {
			t.Fatalf("%q goes upstream as %q", lines, after)
		}
	}
	if left := lenientKeys(api.Places, after); len(left) > 0 {
		t.Fatalf("%q goes upstream as %q, with the keys %q", lines, after, left)
	}
	want := 0
	if up.Mode == Replace {
		want = 1
	}
	if got := r.Header["Authorization"]; len(got) != want || want > 0 && got[0] != route.UpstreamKey.Scheme+" "+upstreamKey {
		t.Fatalf("%q and %q: the backend gets %q", authorization, lines, got)
	}
}

func TestR19_NoCopyOfAKeyInASubprotocolIsLeft(t *testing.T) {
	t.Parallel()
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		api, _ := dialect.ByName(rapid.SampledFrom([]string{"openai", "deepgram"}).Draw(t, "api"))
		route := &api.Routes[rapid.IntRange(0, len(api.Routes)-1).Draw(t, "route")]
		items := []string{clientKey, clientKey, clientKey, otherKey, "\u00a0" + clientKey, "v1", "realtime", "token2", "", " "}
		for _, p := range api.Places {
			if p.Location == dialect.Subprotocol {
				items = append(items, p.Name, p.Name, p.Prefix+clientKey, p.Prefix+otherKey, strings.ToUpper(p.Name+p.Prefix), p.Name+p.Prefix)
			}
		}
		space := rapid.SampledFrom([]string{"", " ", "\t", "  "})
		var lines []string
		for range rapid.IntRange(0, 3).Draw(t, "lines") {
			var line []string
			for range rapid.IntRange(0, 4).Draw(t, "items") {
				line = append(line, space.Draw(t, "before")+rapid.SampledFrom(items).Draw(t, "item")+space.Draw(t, "after"))
			}
			lines = append(lines, strings.Join(line, ","))
		}
		authorization := rapid.SampledFrom([]string{"", "Bearer " + clientKey, "bearer  " + clientKey, "Bearer"}).Draw(t, "authorization")
		up := upstreams[rapid.SampledFrom([]string{"drop", "pass", "replace"}).Draw(t, "mode")]
		f := Scan(requestWith(route, authorization, lines), api, route)
		if _, fault := f.UncheckedKey(); fault == nil {
			accepted++
		}
		checkSubprotocols(t, api, route, authorization, lines, up)
	})
	if accepted == 0 {
		t.Error("no handshake had a key")
	}
}

func FuzzSubprotocols(f *testing.F) {
	for _, text := range []string{"token, " + clientKey, "token\n" + clientKey, "realtime, " + openAIPrefix + clientKey, "Token," + clientKey, "bearer, token, " + clientKey, `"token", x`, "token,,\t,x"} {
		f.Add(text, "")
		f.Add(text, "Bearer "+clientKey)
	}
	f.Add("token,\u00a0"+clientKey, "Bearer "+clientKey)
	f.Add("\r  "+clientKey, "Bearer "+clientKey)
	f.Fuzz(func(t *testing.T, text, authorization string) {
		lines := strings.Split(text, "\n")
		for _, api := range []*dialect.API{dialect.OpenAI, dialect.Deepgram} {
			_, route := handshake(api, "")
			for _, up := range upstreams {
				checkSubprotocols(t, api, route, authorization, lines, up)
			}
		}
	})
}
