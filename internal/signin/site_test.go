package signin

import (
	"strings"
	"testing"
)

func TestSite_IsWhereBrowsersUsePasskeys(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string][2]string{
		"https://console.example.com":              {"https://console.example.com", "console.example.com"},
		"https://console.example.com/path/":        {"https://console.example.com", "console.example.com"},
		"https://Console.Example.COM:443":          {"https://console.example.com", "console.example.com"},
		"https://console.example.com:8443":         {"https://console.example.com:8443", "console.example.com"},
		"http://localhost:8080":                    {"http://localhost:8080", "localhost"},
		"http://localhost":                         {"http://localhost", "localhost"},
		"http://speech.localhost:80":               {"http://speech.localhost", "speech.localhost"},
		"https://localhost":                        {"https://localhost", "localhost"},
		"https://音声.example.jp":                    {"https://xn--4qs597l.example.jp", "xn--4qs597l.example.jp"},
		"http://console.example.com":               {},
		"https://192.0.2.7":                        {},
		"http://127.0.0.1:8080":                    {},
		"https://[2001:db8::7]:8443":               {},
		"https://2130706433":                       {},
		"https://console":                          {},
		"https://":                                 {},
		"":                                         {},
		"ftp://console.example.com":                {},
		"https://evil.example/console.example.com": {"https://evil.example", "evil.example"},
		"https://a b.example.com":                  {},
		"http://localhost.example.com":             {},
		"http://notlocalhost":                      {},

		"https://console.example.com/" + strings.Repeat("a", 512-28):         {"https://console.example.com", "console.example.com"},
		"https://console.example.com/" + strings.Repeat("a", 512-27):         {},
		"https://console.example.com:" + strings.Repeat("0", 1<<20) + "8443": {},
	} {
		site, err := NewSite(origin, "Speechgate")
		if site.Origin() != want[0] || site.Host() != want[1] || (err == nil) != (want[0] != "") {
			t.Errorf("%.80q is %.80q, %q, %v; want %q", origin, site.Origin(), site.Host(), err, want)
		}
	}
}
