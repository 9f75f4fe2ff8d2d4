package sandbox

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPagesOfOtherOriginsMayAskAndRead(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(NewAmiVoice(Config{Key: "k"}))
	t.Cleanup(server.Close)
	ask := func(method, path string, header http.Header) *http.Response {
		t.Helper()
		r, err := http.NewRequest(method, server.URL+path, bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		header.Set("Origin", "https://app.example.com")
		r.Header = header
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	readable := func(request string, response *http.Response) {
		t.Helper()
		if origin := response.Header["Access-Control-Allow-Origin"]; len(origin) != 1 || origin[0] != "*" {
			t.Errorf("%s: Access-Control-Allow-Origin %q, want *", request, origin)
		}
		if names := response.Header.Get("Access-Control-Expose-Headers"); names != "X-Session-ID" {
			t.Errorf("%s: Access-Control-Expose-Headers %q, want X-Session-ID", request, names)
		}
	}
	for _, request := range []string{"POST /v1/recognize", "POST /v1/nolog/recognize", "POST /v1/recognitions", "POST /v2/recognitions", "GET /v2/recognitions/x"} {
		method, path, _ := strings.Cut(request, " ")
		readable(request, ask(method, path, http.Header{}))
		response := ask(http.MethodOptions, path, http.Header{
			"Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {"authorization"},
		})
		readable("OPTIONS "+path, response)
		if response.StatusCode != http.StatusNoContent {
			t.Errorf("OPTIONS %s: status %d, want 204", path, response.StatusCode)
		}
		if methods := response.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(methods, method) {
			t.Errorf("OPTIONS %s allows the methods %q", path, methods)
		}
		if names := response.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(names, "Authorization") {
			t.Errorf("OPTIONS %s allows the header fields %q", path, names)
		}
	}
	response := ask(http.MethodOptions, "/v1/other", http.Header{"Access-Control-Request-Method": {"POST"}})
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("OPTIONS /v1/other: status %d, want 404", response.StatusCode)
	}
}
