package gate

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// When the answer begins, and when the gate returns, handlers in front of the gate see the
// request as the client sent it, with every credential masked.
func TestR18_HandlersInFrontSeeTheClientsRequest(t *testing.T) {
	rig := newRig(t)
	cases := rig.cases()
	cases["pairs"] = &gateCase{method: "POST", target: "/v1/recognize?d=x+authorization%3D" + rig.secret, body: []byte("RIFF"), answer: cases["poll"].answer}
	for name, c := range cases {
		for outcome, finish := range map[string]func(http.ResponseWriter) error{
			"answers": func(w http.ResponseWriter) error {
				w.WriteHeader(http.StatusNotFound)
				return nil
			},
			"fails": func(http.ResponseWriter) error { return caddyhttp.Error(http.StatusBadGateway, io.ErrUnexpectedEOF) },
			"breaks off": func(w http.ResponseWriter) error {
				w.WriteHeader(http.StatusNotFound)
				panic(http.ErrAbortHandler)
			},
		} {
			t.Run(name+" "+outcome, func(t *testing.T) {
				w := &noting{ResponseRecorder: httptest.NewRecorder()}
				r := c.request(w)
				w.r = r
				r.Header.Set("Connection", "keep-alive")
				r.Header.Set("Range", "bytes=0-1")
				r.Header.Set("Digest", "sha-256=x")
				want := maps.Clone(r.Header)
				if c.authorization != "" {
					want["Authorization"] = []string{"REDACTED"}
				}
				copied := r.WithContext(r.Context()) // as another handler in front of the gate can have it
				var sent http.Header
				err := func() (err error) {
					defer func() { _ = recover() }()
					return rig.gate.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
						sent = maps.Clone(r.Header)
						if all := fmt.Sprint(r.Header, r.URL); c.body == nil && !strings.Contains(all, backendKey) {
							t.Errorf("the next handler gets no upstream key: %s", all)
						}
						return finish(w)
					}))
				}()
				if err != nil {
					t.Fatal(err)
				}
				if sent["Connection"] != nil || sent["Range"] != nil || !slices.Equal(sent["Accept-Encoding"], []string{"identity"}) {
					t.Errorf("the next handler got %v", sent)
				}
				if outcome != "answers" {
					delete(want, "Content-Length")
				}
				for where, header := range map[string]http.Header{"the request": r.Header, "a copy of the request": copied.Header, "the request at the time of the answer": w.seen} {
					if text := fmt.Sprint(header); outcome == "answers" && text != fmt.Sprint(want) || strings.Contains(text, backendKey) || strings.Contains(text, rig.secret) {
						t.Errorf("%s has %s, want %s", where, text, fmt.Sprint(want))
					}
				}
				body, _ := io.ReadAll(r.Body)
				if all := fmt.Sprint(r.URL, copied.URL, r.RequestURI, w.url, string(body)); strings.Contains(all, backendKey) || strings.Contains(all, rig.secret) {
					t.Errorf("a key is seen in %s", all)
				}
				if strings.Contains(c.target, "&u=") && !strings.Contains(r.URL.RawQuery, "u=REDACTED") {
					t.Errorf("the query is %q", r.URL.RawQuery)
				}
			})
		}
	}
}

// noting is a handler in front of the gate. It notes the request when the answer begins.
type noting struct {
	*httptest.ResponseRecorder

	r    *http.Request
	seen http.Header
	url  string
}

func (n *noting) WriteHeader(status int) {
	n.seen, n.url = maps.Clone(n.r.Header), n.r.URL.String()
	n.ResponseRecorder.WriteHeader(status)
}
