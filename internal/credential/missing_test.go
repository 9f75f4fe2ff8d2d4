package credential

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func TestR1_AMissingKeySaysWhichMistakeItIs(t *testing.T) {
	t.Parallel()
	const (
		places    = "want it in the query's u, the pair authorization of the query's d, the part u, the pair authorization of the part d or the header Authorization: Bearer"
		multipart = " (send multipart/form-data): "
	)
	bearer := http.Header{"Authorization": {"Bearer"}}
	for _, test := range []struct {
		name    string
		request *http.Request
		header  http.Header
		want    string
	}{
		{"nothing", upload("", "", ""), nil, "the request has no key: " + places},
		{"raw audio", upload("d=-a-general", "audio/wav", "RIFF"), nil, "the request has no key: " + places},
		{"an empty key", upload("u=", "audio/wav", "RIFF"), bearer, "the request has no key: " + places},
		{"a form without a key and audio", upload("", formType, part("d", "-a-general")+end), nil, "the request has no key: " + places},
		{"an empty part", upload("", formType, part("u", "")+aPart+end), nil, "the form has no key before the part a, and none is read from there on (send the audio last): " + places},
		{"the key behind the audio", upload("", formType, part("d", "-a-general")+aPart+uPart+end), nil, "the form has no key before the part a, and none is read from there on (send the audio last): " + places},
		{"a urlencoded body", upload("", "application/x-www-form-urlencoded", "u="+escaped+"&d=-a-general"), nil, "the request has no key where one is read, and its body is labelled application/x-www-form-urlencoded, in which none is read" + multipart + places},
		{"a JSON body", upload("", "application/json; charset=utf-8", `{"u":"`+clientKey+`"}`), nil, "the request has no key where one is read, and its body is labelled as JSON, in which none is read" + multipart + places},
		{"nothing in a poll", poll(""), nil, "the request has no key: want it in the header Authorization: Bearer"},
		{"the query's u in a poll", poll("u=" + escaped), nil, "the key is in the query's u, where this operation reads none: want it in the header Authorization: Bearer"},
		{"the query's d in a poll", poll("d=authorization%3D" + doubled), nil, "the key is in the pair authorization of the query's d, where this operation reads none: want it in the header Authorization: Bearer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			maps.Copy(test.request.Header, test.header)
			r := test.request
			f := Scan(r, api, api.Classify(r.Method, r.URL.Path).Route)
			if f.FormMayHoldKey() { // as a gate does
				if err := f.ReadForm(nil, r, testMaxHead, nil); err != nil {
					t.Fatal(err)
				}
			}
			_, fault := f.Key()
			if fault == nil || fault.Reason != policy.CredentialMissing || fault.Detail != test.want {
				t.Errorf("the fault is\n%v, want the detail\n%s", fault, test.want)
			}
		})
	}
}

// A gate asks for the key of every form before it reads the body.
func TestR1_AFormThatIsNotReadYetAllocatesNothing(t *testing.T) { //nolint:paralleltest // it counts allocations
	r := upload("", formType, uPart+aPart+end)
	f := Scan(r, api, api.Classify(r.Method, r.URL.Path).Route)
	if n := testing.AllocsPerRun(100, func() {
		if _, fault := f.UncheckedKey(); fault == nil || fault.Reason != policy.CredentialMissing {
			t.Fatalf("the fault is %v", fault)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestR1_AnOperationWithoutPlacesSaysSo(t *testing.T) {
	t.Parallel()
	r := upload("u="+escaped, "audio/wav", "RIFF")
	route := *api.Classify(r.Method, r.URL.Path).Route
	route.Keys = nil
	f := Scan(r, api, &route)
	if _, fault := f.Key(); fault == nil || !strings.HasSuffix(fault.Detail, ": this operation reads none at all") {
		t.Errorf("the fault is %v", fault)
	}
}
