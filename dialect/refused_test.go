package dialect

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
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

// encoding/json is the second implementation.
func TestR16_OtherParsersReadTheSameRefusals(t *testing.T) {
	t.Parallel()
	refusal := KeyRefused{Status: 200, Member: "code", Value: "-"}
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
