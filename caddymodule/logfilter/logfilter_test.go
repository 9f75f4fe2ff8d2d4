package logfilter

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// A short upstream key is masked as a whole word, and not as a part of another word.
func TestR18_ShortUpstreamKeysAreMaskedAsWholeWords(t *testing.T) {
	filter := new(LogFilter)
	if err := filter.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	filter.upstreamKeys = new(app.UpstreamKeyMask)
	filter.upstreamKeys.Add(policy.NewSecret("proxy.v2"))
	const mask = "********"
	for text, want := range map[string]string{
		"proxy.v2":                         mask,
		"key=proxy.v2&x":                   "key=" + mask + "&x",
		`{"u":"proxy.v2"}`:                 `{"u":"` + mask + `"}`,
		"Bearer proxy.v2":                  "Bearer " + mask,
		"x%3Dproxy%2Ev2":                   "x%3D**********",
		`\nproxy.v2`:                       `\n` + mask,
		"reverseproxy.v2":                  "reverseproxy.v2",
		"proxy.v22":                        "proxy.v22",
		"http.handlers.reverse_proxy.v2ok": "http.handlers.reverse_proxy.v2ok",
		"proxy.v22 proxy.v2":               "proxy.v22 " + mask,
	} {
		if got := filter.mask("text", text); got != want {
			t.Errorf("%q is logged as %q, want %q", text, got, want)
		}
	}
}

// The header fields of every dialect's places are masked as a whole, in every spelling.
func TestR18_FieldsThatCanHoldAKeyAreMaskedAsAWhole(t *testing.T) {
	t.Parallel()
	filter := new(LogFilter)
	if err := filter.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "Sec-Websocket-Protocol", "sec-websocket-protocol", "Sec-WebSocket-Protocol"} {
		if got := filter.mask(name, "token, a-key-of-another-system"); got != credential.Masked {
			t.Errorf("%s is logged as %q", name, got)
		}
	}
	for _, name := range []string{"Sec-Websocket-Key", "Sec-Websocket-Version"} {
		if got := filter.mask(name, "13"); got != "13" {
			t.Errorf("%s is logged as %q", name, got)
		}
	}
}
