package dialect

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/jsonanswer"
)

func TestR16_ARefusalOfAKeyIsKnownByItsCode(t *testing.T) {
	t.Parallel()
	refusal := AmiVoice.KeyRefused(AmiVoice.Classify("POST", "/v1/recognize"))
	for body, want := range map[string]bool{
		amiError("-", amiDenied):                               true,
		amiError("-", "the API key is not valid"):              true, // the vendor changes the wording
		`{"code":"-"}`:                                         true,
		"\r\n {\n  \"message\": \"x\",\n  \"code\" : \"-\"\n}": true,
		`{"code":"\u002d"}`:                                    true,
		`{"text":"","code":"-","message":"a \"quoted\" word"}`: true,
		amiError("", ""):                                       false,
		amiError("+", "unsupported"):                           false,
		amiError("o", "-"):                                     false,
		`{"results":[{"code":"-"}],"code":""}`:                 false,
		`{"text":"-","code":"","message":""}`:                  false,
		`{"code":["-"]}`:                                       false,
		`["code","-"]`:                                         false,
		`{"code":"-","code":""}`:                               false,
		`"-"`:                                                  false,
		"":                                                     false,
		`{"code":"-","message":"` + strings.Repeat("x", MaxKeyRefused) + `"}`: false,
	} {
		if got := refusal.Describes([]byte(body)); got != want {
			t.Errorf("%.80q: %t, want %t", body, got, want)
		}
	}
}

func TestR16_ARefusalOfAKeyHasItsMember(t *testing.T) {
	t.Parallel()
	exactly := `{"code":"-","message":"` + strings.Repeat("x", MaxKeyRefused-len(`{"code":"-","message":""}`)) + `"}`
	for _, test := range []struct {
		refusal KeyRefused
		body    string
		want    bool
	}{
		{KeyRefused{Status: 401}, "", true}, // the status alone shows it
		{KeyRefused{Status: 401}, "not JSON", true},
		{KeyRefused{Member: jsonanswer.MustSet("code")}, `{"code":""}`, true},
		{KeyRefused{Member: jsonanswer.MustSet("code")}, `{"code":1,"text":""}`, false},
		{KeyRefused{Member: jsonanswer.MustSet("code")}, `{"code":"","code":""}`, false},
		{KeyRefused{Member: jsonanswer.MustSet("code"), Value: "-"}, exactly, true},
		{KeyRefused{Member: jsonanswer.MustSet("code"), Value: "-"}, exactly + " ", false},
	} {
		if got := test.refusal.Describes([]byte(test.body)); got != test.want {
			t.Errorf("%+v describes %.40q of %d bytes: %t", test.refusal, test.body, len(test.body), got)
		}
	}
}

// encoding/json is the second implementation.
func TestR16_OtherParsersReadTheSameRefusals(t *testing.T) {
	t.Parallel()
	refusal := KeyRefused{Status: 200, Member: jsonanswer.MustSet("code"), Value: "-"}
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.SampledFrom([]string{"-", "", "+", "--", " -", `"-"`, "‐", "-\n"}).Draw(t, "code")
		text := rapid.String().Draw(t, "text")
		body, err := json.Marshal(map[string]any{"code": code, "text": text, "results": []map[string]string{{"code": "-"}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := refusal.Describes(body); len(body) <= MaxKeyRefused && got != (code == "-") {
			t.Errorf("%q: %t", body, got)
		}
	})
}
