package issuance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func parsedLimits(t *testing.T, text string) policy.Limits {
	t.Helper()
	l, err := policy.ParseLimits(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestR20_KeysGetTheLimitsThatTheyAskFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, secret := f.key(keystore.NewKey{Issuable: true, Expires: policy.Never(), Limits: parsedLimits(t, "requests=60/m streams=2 operations=recognize,stream")})
	free := settings
	free.FreeChildren = true
	for name, test := range map[string]struct {
		settings Settings
		call     *KeyRequest
		limits   string
		want     string // the limits of the key, or a part of the answer
		status   int
	}{
		"nothing":                      {settings, f.byService("", ""), "", "", 200},
		"by service":                   {settings, f.byService("", ""), "requests=60/m,operations=stream", "requests=60/m operations=stream", 200},
		"by a key without limits":      {settings, f.byKey("", ""), "streams=1", "streams=1", 200},
		"a child inherits":             {settings, callBy(secret), "", "requests=60/m streams=2 operations=recognize,stream", 200},
		"a child with less":            {settings, callBy(secret), "streams=1 operations=stream", "requests=60/m streams=1 operations=stream", 200},
		"a child with another limit":   {settings, callBy(secret), "audio=1h/d", "requests=60/m streams=2 audio=3600s/d operations=recognize,stream", 200},
		"a child with more":            {settings, callBy(secret), "requests=61/m", "The key is not issued: its limit requests would allow more than that of the key that issues it, which is requests=60/m.", 403},
		"a child with more operations": {settings, callBy(secret), "operations=recognize,create_job", "its limit operations would allow more than that of the key that issues it, which is operations=recognize,stream.", 403},
		"a free child":                 {free, callBy(secret), "requests=61/m", "requests=61/m", 200},
		"a free child without limits":  {free, callBy(secret), "", "", 200},
		"a mistake":                    {settings, f.byService("", ""), "requests=60", `limits: the limit "requests=60": want requests a minute`, 400},
		"a secret":                     {settings, callBy(secret), "streams=" + secret.Reveal(), "The epi, ipa or limits holds a credential", 400},
	} {
		test.call.limits = test.limits
		got := New(test.settings).Issue(t.Context(), start, client, false, f, test.call)
		if got.Status != test.status {
			t.Errorf("%s: status %d, %s", name, got.Status, got.Text)
			continue
		}
		if test.status != http.StatusOK {
			if !strings.Contains(got.Text, test.want) || strings.Contains(got.Text, secret.Reveal()) {
				t.Errorf("%s: %s", name, got.Text)
			}
			continue
		}
		if stored, err := f.Key(t.Context(), got.Key.ID); err != nil || stored.Limits.String() != test.want || got.Key.Limits != stored.Limits {
			t.Errorf("%s: the key has the limits %q, %v; want %q", name, stored.Limits, err, test.want)
		}
	}
}

// A key that may issue keys does so whatever its limits are: they are for the backend's
// operations.
func TestR20_LimitsDoNotConcernTheIssuanceAPI(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, secret := f.key(keystore.NewKey{Issuable: true, Expires: policy.Never(), Limits: parsedLimits(t, "requests=1/m operations=stream")})
	authority := New(settings)
	for range 5 {
		if got := authority.Issue(t.Context(), start, client, false, f, callBy(secret)); got.Status != http.StatusOK {
			t.Fatalf("status %d, %s", got.Status, got.Text)
		}
	}
}

func TestR20_TheFieldLimitsCanBeSentSeveralTimes(t *testing.T) {
	t.Parallel()
	k := ReadKeyRequest(post(t, strings.NewReader("sid=s&spw=p&limits=requests%3D60%2Fm&limits=streams=1"), bearerOf()))
	if k.fault != nil || k.limits != "requests=60/m streams=1" {
		t.Errorf("read %q, %+v", k.limits, k.fault)
	}
	k = ReadKeyRequest(post(t, strings.NewReader("sid=s&spw=p&limit=streams=1"), bearerOf()))
	if k.fault == nil || !strings.Contains(k.fault.Text, `field "limit", which the API does not know: did you mean limits?`) {
		t.Errorf("a misspelled field: %+v", k.fault)
	}
}

func callBy(secret policy.Secret) *KeyRequest { return &KeyRequest{key: secret} }
