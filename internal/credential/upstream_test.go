package credential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func TestR18_AnUpstreamKeyThatNoPlaceCanCarryIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key string
		ok  bool
	}{
		"of letters":      {"UPSTREAM", true},
		"of punctuation":  {upstreamKey, true},
		"of a tilde":      {"!~", true},
		"as long as any":  {strings.Repeat("k", policy.MaxSecretLen), true},
		"empty":           {"", false},
		"with a space":    {"CANARY KEY", false},
		"with a line end": {"CANARY\n", false},
		"with a tab":      {"CANARY\tKEY", false},
		"with a DEL":      {"CANARY\x7f", false},
		"beyond ASCII":    {"CANARYキー", false},
		"too long":        {strings.Repeat("CANARY", policy.MaxSecretLen), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckUpstreamKey(policy.NewSecret(test.key))
			if (err == nil) != test.ok {
				t.Errorf("CheckUpstreamKey: %v", err)
			}
			if name == "with a space" && !strings.Contains(err.Error(), "at byte 7:") {
				t.Errorf("the error names another byte: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "CANARY") {
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

// ReplaceWith only makes in advance what each request would make.
func TestR19_AnUpstreamIsTheSameWithoutReplaceWith(t *testing.T) {
	t.Parallel()
	for _, up := range []Upstream{replace, {Mode: Replace, Key: policy.NewSecret(upstreamKey)}} {
		r := upload("u="+escaped, formType, part("d", "authorization="+escaped)+aPart+end)
		r.Header.Set("Authorization", "Bearer "+clientKey)
		accept(t, r, up)
		want := part("d", "authorization="+url.QueryEscape(upstreamKey)) + aPart + end
		if got := readBody(t, r); got != want || r.URL.RawQuery != "u="+url.QueryEscape(upstreamKey) || r.Header.Get("Authorization") != "Bearer "+upstreamKey {
			t.Errorf("went upstream as %q, %v and %q", r.URL.RawQuery, r.Header, got)
		}
	}
}

func TestR19_FieldsThatAreNoPartOfTheOperationAreStripped(t *testing.T) {
	t.Parallel()
	r := upload("", "audio/wav", "RIFF")
	for _, name := range []string{
		"Cookie", "Connection", "Proxy-Connection", "Proxy-Authorization", "Keep-Alive", "Upgrade", "HTTP2-Settings", "TE", "Trailer",
		"X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL",
	} {
		r.Header.Add(name, "Authorization")
		r.Header.Add(name, "X-Other")
	}
	r.Header.Set("Authorization", "kept for Rewrite")
	r.Header.Set("X-Other", "kept")
	r.Trailer = http.Header{"Authorization": nil}
	StripHeader(r, true)
	if len(r.Header) != 3 || r.Header.Get("X-Other") == "" || r.Header.Get("Authorization") == "" || r.Trailer != nil {
		t.Errorf("these go upstream: %v, and the trailers %v", r.Header, r.Trailer)
	}
}

func TestR19_AFieldThatOverridesTheMethodOrThePathIsFound(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"} {
		header := http.Header{"Cookie": {"a=b"}, "X-Original-Uri": {"/"}, "X-Forwarded-Method": {"GET"}}
		if found := Override(header); found != "" {
			t.Errorf("%s counts as an override", found)
		}
		header.Set(name, "")
		if found := Override(header); !strings.EqualFold(found, name) {
			t.Errorf("%s: found %q", name, found)
		}
	}
}

// A gate that reads the answer needs all of it.
func TestR19_FieldsThatAskForAPartOfTheAnswerAreStrippedIfTheGateReadsIt(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		for _, wholeAnswer := range []bool{false, true} {
			r := poll("")
			r.Header.Set(name, "x")
			r.Header.Set("X-Other", "kept")
			StripHeader(r, wholeAnswer)
			if _, sent := r.Header[name]; sent == wholeAnswer || r.Header.Get("X-Other") == "" {
				t.Errorf("the gate needs the whole answer: %t, and these go upstream: %v", wholeAnswer, r.Header)
			}
		}
	}
}

// A fault quotes nothing of the request, whatever is wrong with it.
func TestR18_NoFaultQuotesTheRequest(t *testing.T) {
	t.Parallel()
	const canary = "CaNaRy"
	queries := []string{"u=%zz" + canary, "u=" + canary + "&u=2", "u=" + canary + "%00", "%zz" + canary + "=1", canary + ";u=1", "d=" + canary + "++x", "d=authorization=%zz" + canary, "d=%22" + canary + "%22+authorization=1", "U=" + canary}
	types := []string{"multipart/" + canary, "multipart/form-data; " + canary, "multipart/form-data; boundary=" + canary + " x", "multipart/form-data; boundary=B0; charset=" + canary, formType}
	bodies := []string{canary, "--B0" + canary, headed(canary, ""), headed(canary+": x", ""), headed("Content-Disposition: "+canary, ""), part(canary+"%", ""), part("U", canary), part("u", canary+" x") + aPart, part("u", "--B0"+canary)}
	var secrets []policy.Secret
	check := func(r *http.Request) {
		t.Helper()
		f, secret, fault := find(t, r, 4096)
		if fault == nil {
			t.Errorf("%q was accepted", r.URL.RawQuery)
			return
		}
		secrets = append(secrets, secret)
		if text := fmt.Sprintf("%v %+v %#v", fault, *fault, fault.Detail); strings.Contains(strings.ToLower(text), "canary") {
			t.Errorf("the fault quotes the request: %s", text)
		}
		_ = f
	}
	for _, query := range queries {
		check(upload(query, "audio/wav", "RIFF"))
	}
	for _, contentType := range types[:len(types)-1] {
		check(upload("u=1", contentType, ""))
	}
	for _, body := range bodies {
		check(upload("", formType, body))
	}
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(secrets); err != nil || strings.Contains(out.String(), canary) {
		t.Errorf("secrets are written as %s, %v", out.String(), err)
	}
}

// With a wrong Content-Length, the backend would take the rest of a body for the next
// request on the connection.
func TestR19_TheForwardedLengthIsThatOfTheBody(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"k", upstreamKey, strings.Repeat("k", policy.MaxSecretLen)} {
		body := uPart + part("d", "authorization="+escaped) + uPart + aPart + end
		r := upload("", formType, body)
		r.Header.Set("Content-Length", "1")
		accept(t, r, ReplaceWith(policy.NewSecret(key)))
		out := readBody(t, r)
		if r.ContentLength != int64(len(out)) || r.Header.Get("Content-Length") != fmt.Sprint(len(out)) {
			t.Errorf("Content-Length is %d and %q for %d bytes", r.ContentLength, r.Header.Get("Content-Length"), len(out))
		}
	}
}
