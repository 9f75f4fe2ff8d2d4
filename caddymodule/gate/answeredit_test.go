package gate

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A URL becomes the same whether another one of its origin came before it or not.
func TestGateURLs_AreTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	urls := []struct{ from, want string }{
		{"https://api.example/v2/transcript/1", "http://gate.example/v2/transcript/1"},
		{"https://api.example/v2/transcript?limit=2&before_id=a-b_c.~", "http://gate.example/v2/transcript?limit=2&before_id=a-b_c.~"},
		{"https://api.example/a%20b", "http://gate.example/a%20b"},
		{"https://api.example/a%2", "https://api.example/a%2"}, // no URL
		{"https://api.example/a b", "http://gate.example/a b"},
		{"https://api.example", "http://gate.example"},
		{"https://api.example?a", "http://gate.example?a"},
		{"https://api.example#a", "http://gate.example#a"},
		{"https://api.example.org/a", "http://gate.example/a"},
		{"https://api.example:8443/a", "http://gate.example/a"},
		{"wss://api.example/v2/live", "ws://gate.example/v2/live"},
		{"ftp://api.example/a", "ftp://api.example/a"},
		{"/v2/transcript", "/v2/transcript"},
		{"//api.example/v2", "//api.example/v2"},
		{"", ""},
	}
	for _, first := range urls {
		for _, second := range urls {
			r := httptest.NewRequest(http.MethodGet, "/v2/transcript", nil)
			r.Host = "gate.example"
			toGate := gateURLs(r)
			if got := toGate(first.from); got != first.want {
				t.Errorf("%s becomes %s", first.from, got)
			}
			if got := toGate(second.from); got != second.want {
				t.Errorf("behind %s, %s becomes %s", first.from, second.from, got)
			}
		}
	}
}
