package credential_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
)

func TestMaskPath(t *testing.T) {
	t.Parallel()
	api, _ := dialect.ByName("amivoice")
	const ours = "sgk_WlEOrkqSW13NMWzqrYMlvQfppaGj2gCW04YSOA"
	for path, want := range map[string]string{
		"/":                                   "/",
		"":                                    "",
		"/v1/engines":                         "/v1/engines",
		"/issue_service_authorization":        "/issue_service_authorization",
		"/profilewords/-a-general/mine":       "/profilewords/-a-general/mine",
		"/.well-known/security.txt":           "/.well-known/security.txt",
		"/V1/Recognize/":                      "/V1/Recognize/",
		"/v1.2/reports/2026-11-28":            "/v1.2/reports/2026-11-28",
		"/a/%2e%2e/b":                         "/a/%2e%2e/b",
		"/v1/recognize/" + ours:               "/v1/recognize/REDACTED",
		"/v1/recognize" + ours:                "/v1/REDACTED",
		"/u%3dKEY":                            "/REDACTED",
		"/v1/recognize%3Fu=KEY":               "/v1/REDACTED",
		"/v1/recognize&u=KEY":                 "/v1/REDACTED",
		"/u=KEY":                              "/REDACTED",
		"/v1/recognize/1f6d0c2a9b":            "/v1/recognize/REDACTED",
		"/v1/recognize/password1":             "/v1/recognize/REDACTED",
		"/v1/recognize/qWeRtYuI":              "/v1/recognize/REDACTED",
		"/v1/recognize/abcdefghijklmnop":      "/v1/recognize/REDACTED",
		"/v1/recognize/12345678":              "/v1/recognize/REDACTED",
		"/v1/d466037d29b29aaf2e688737/x":      "/v1/REDACTED/x",
		"/az/AZ/Az/aZ/aBc/ABc/Abcdefgh":       "/az/AZ/Az/aZ/aBc/ABc/Abcdefgh", // short ones are shown
		"/azazazaz/AZAZAZAZ/Azazazaz":         "/azazazaz/AZAZAZAZ/Azazazaz",
		"/azazaZaz/aZAZAZAZ/AZazazaz":         "/REDACTED/REDACTED/REDACTED",
		"/abcdefg{/abcdef`/ABCDEFG[/ABCDEFG@": "/REDACTED/abcdef`/REDACTED/REDACTED",
		"/abcdef1/abcdefg1":                   "/abcdef1/REDACTED",
		"/abcdefghijklmno/Abcdefghijklmno/ABCDEFGHIJKLMNO":   "/abcdefghijklmno/Abcdefghijklmno/ABCDEFGHIJKLMNO",
		"/abcdefgh-1234/abcdefgh-12345":                      "/abcdefgh-1234/REDACTED",
		"/abcdefgh-v12/abcdefgh-x12/abcdefgh-v/abcdefgh-12v": "/abcdefgh-v12/REDACTED/abcdefgh-v/REDACTED",
		"/abcdefgh-v1234/abcdefgh-v12345":                    "/abcdefgh-v1234/REDACTED",
		"/" + strings.Repeat("a/", 127) + "a":                "/" + strings.Repeat("a/", 127) + "a", // 256 bytes
		"/" + strings.Repeat("a/", 127) + "ab":               "/" + strings.Repeat("a/", 127) + "a…",
		"/x/" + strings.Repeat("a/", 200):                    "/x/" + strings.Repeat("a/", 126) + "a…",
	} {
		if got := credential.MaskPath(path, api.Places); got != want {
			t.Errorf("MaskPath(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestMaskPath_ShowsNoKeyInASegment(t *testing.T) {
	t.Parallel()
	api, _ := dialect.ByName("amivoice")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[A-Za-z0-9_+=~-]*[0-9][A-Za-z]+[0-9]{2}[A-Za-z0-9]{5,60}`).Draw(t, "key")
		before := rapid.SampledFrom([]string{"/", "/v1/", "/v1/recognize/", "/v1/recognize", "/v1/recognize;u=", "/V1//"}).Draw(t, "before")
		after := rapid.SampledFrom([]string{"", "/", "/more", "&x", "%3Fu=1"}).Draw(t, "after")
		if got := credential.MaskPath(before+key+after, api.Places); strings.Contains(got, key) {
			t.Fatalf("MaskPath shows the key: %q", got)
		}
	})
}

func TestMaskMethod(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]string{
		"GET": "GET", "get": "get", "PROPFIND": "PROPFIND",
		"": "REDACTED", "GET,POST": "REDACTED", "sgk_WlEOrkqSW13NMWzqrYMlvQfppaGj2gCW04YSOA": "REDACTED", "ABCDEFGHIJKLMNOP": "REDACTED",
	} {
		if got := credential.MaskMethod(method); got != want {
			t.Errorf("MaskMethod(%q) = %q, want %q", method, got, want)
		}
	}
}
