package gate

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// ask sends a request through the gate to this backend.
func (g *rig) ask(t *testing.T, c *gateCase, backend func(w http.ResponseWriter)) *httptest.ResponseRecorder {
	t.Helper()
	w := final{httptest.NewRecorder()}
	err := g.gate.ServeHTTP(w, c.request(w), caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		_, _ = io.Copy(io.Discard, r.Body)
		backend(w)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return w.ResponseRecorder
}

// final records the final answer. A ResponseRecorder takes an informational answer for it.
type final struct{ *httptest.ResponseRecorder }

func (f final) WriteHeader(status int) {
	if status >= 200 {
		f.ResponseRecorder.WriteHeader(status)
	}
}

func (g *rig) creation() *gateCase {
	return &gateCase{method: "POST", target: "/v1/recognitions?u=" + g.secret, body: []byte("RIFF")}
}

func answering(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// A short upstream key can be a word of a result by chance, so it is masked in errors only.
func TestR18_AShortUpstreamKeyIsMaskedInErrorsOnly(t *testing.T) {
	for _, tt := range []struct {
		key    string
		status int
		masked bool
	}{
		{"short-key-12345", 200, false},
		{"short-key-12345", 400, true},
		{"short-key-12345", 500, true},
		{"longer-key-12345", 200, true},
		{"longer-key-12345", 400, true},
	} {
		g := newRigWith(t, &Gate{UpstreamKey: tt.key})
		got := g.ask(t, g.cases()["poll"], func(w http.ResponseWriter) {
			w.Header().Set("X-Key", tt.key)
			answering(tt.status, "a "+tt.key+" b")(w)
		})
		stars := strings.Repeat("*", len(tt.key))
		want := "a " + tt.key + " b"
		if tt.masked {
			want = "a " + stars + " b"
		}
		if got.Code != tt.status || got.Body.String() != want || got.Header().Get("X-Key") != stars {
			t.Errorf("%d characters, status %d: status %d, header %q, body %q", len(tt.key), tt.status, got.Code, got.Header().Get("X-Key"), got.Body)
		}
	}
}

// The gate asks for plain text where it reads the answer. There, it does not let another encoding
// through.
func TestR18_AnEncodedAnswerThatTheGateReadsIsWithheld(t *testing.T) {
	for mode, reads := range map[string]map[string]bool{
		backendKey: {"recognition": true, "creation": true, "poll": true},
		"pass":     {"recognition": false, "creation": true, "poll": true},
		"drop":     {"recognition": false, "creation": true, "poll": true},
	} {
		g := newRigWith(t, &Gate{UpstreamKey: mode})
		for name, c := range map[string]*gateCase{"recognition": g.cases()["query"], "creation": g.creation(), "poll": g.cases()["poll"]} {
			for encoding, plain := range map[string]bool{"gzip": false, "x, identity": false, "identity": true, "Identity": true, "": true} {
				got := g.ask(t, c, func(w http.ResponseWriter) {
					w.Header()["Content-Encoding"] = []string{encoding}
					answering(200, "{}")(w)
				})
				withheld := reads[name] && !plain
				if (got.Code == http.StatusBadGateway) != withheld || (got.Body.String() == "{}") == withheld || withheld && got.Header()["Content-Encoding"] != nil {
					t.Errorf("upstream_key %s, %s, encoding %q: status %d, body %q", mode, name, encoding, got.Code, got.Body)
				}
			}
		}
	}
}

// Some backends answer a creation with the whole result. The job is recorded when its ID has come, and
// the rest of a long answer streams.
func TestR10_TheIDOfACreatedJobComesInTheFirst64KiB(t *testing.T) {
	g := newRig(t)
	for n, test := range []struct {
		size   int
		before bool // the ID comes before the long member
		want   int
	}{
		{maxHeld, true, http.StatusOK},
		{maxHeld, false, http.StatusOK},
		{maxHeld + 1, true, http.StatusOK},
		{4 * maxHeld, true, http.StatusOK},
		{4 * maxHeld, false, http.StatusBadGateway},
	} {
		for pieces := range 2 {
			if pieces == 0 && test.want == http.StatusBadGateway {
				continue // the one piece has the ID
			}
			id := fmt.Sprintf("job%d%d", n, pieces)
			text := strings.Repeat("x", test.size-len(`{"sessionid":"job00","text":""}`))
			body := `{"text":"` + text + `","sessionid":"` + id + `"}`
			if test.before {
				body = `{"sessionid":"` + id + `","text":"` + text + `"}`
			}
			got := g.ask(t, g.creation(), func(w http.ResponseWriter) {
				if pieces == 1 {
					_, _ = io.WriteString(w, body[:test.size/2])
					if err := http.NewResponseController(w).Flush(); err != nil {
						t.Error(err)
					}
				}
				_, _ = io.WriteString(w, body[pieces*(test.size/2):])
			})
			passes := test.want == http.StatusOK
			if got.Code != test.want || (got.Body.String() == body) != passes {
				t.Errorf("%d bytes, ID first %v: status %d, %d bytes", test.size, test.before, got.Code, got.Body.Len())
			}
			_, err := g.open(t).Job(t.Context(), "amivoice", id)
			if recorded := err == nil; recorded != passes {
				t.Errorf("%d bytes, ID first %v: the job is recorded: %v", test.size, test.before, recorded)
			}
		}
	}
}

// statuses notes every status of an answer, with the informational ones.
type statuses struct {
	final

	all []int
}

func (s *statuses) WriteHeader(status int) {
	s.all = append(s.all, status)
	s.final.WriteHeader(status)
}

func TestInformationalAnswersPass(t *testing.T) {
	g := newRig(t)
	w := &statuses{final: final{httptest.NewRecorder()}}
	sent := []int{http.StatusContinue, http.StatusEarlyHints, 199, http.StatusCreated}
	err := g.gate.ServeHTTP(w, g.cases()["poll"].request(w), caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		for _, status := range sent {
			w.WriteHeader(status)
		}
		_, err := io.WriteString(w, "{}")
		return err
	}))
	if err != nil || !slices.Equal(w.all, sent) || w.Body.String() != "{}" {
		t.Errorf("%v: the client gets %v, and %q", err, w.all, w.Body)
	}
}

// Whatever the backend sets after its header has gone, as trailers, shows no key and no cookie.
func TestR18_TrailersAndEarlyHintsShowNoKey(t *testing.T) {
	stars := strings.Repeat("*", len(backendKey))
	for name, trailer := range map[string]string{"announced": "X-Trailing", "not announced": http.TrailerPrefix + "X-Trailing"} {
		for _, status := range []int{200, 404} {
			g := newRig(t)
			var hints http.Header
			got := g.ask(t, g.cases()["poll"], func(w http.ResponseWriter) {
				w.Header().Set("Link", "</"+backendKey+">")
				w.Header().Set("Set-Cookie", "hint="+backendKey)
				w.WriteHeader(http.StatusEarlyHints)
				hints = w.Header().Clone()
				if name == "announced" {
					w.Header().Set("Trailer", "X-Trailing")
				}
				answering(status, "{}")(w)
				w.Header().Set(trailer, "key="+backendKey)
				w.Header().Set("Set-Cookie", "late="+backendKey)
			})
			if hints.Get("Link") != "</"+stars+">" || hints.Get("Set-Cookie") != "" {
				t.Errorf("%s, %d: the hints are %v", name, status, hints)
			}
			if header := got.Header(); got.Code != status || header.Get(trailer) != "key="+stars || header.Get("Set-Cookie") != "" {
				t.Errorf("%s: status %d, header %v", name, got.Code, header)
			}
		}
	}
}

func TestR15_AnAnswerCannotChangeProtocols(t *testing.T) {
	g := newRig(t)
	got := g.ask(t, g.cases()["poll"], func(w http.ResponseWriter) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			t.Errorf("the backend has the connection %v", conn)
		}
		answering(200, "{}")(w)
	})
	if got.Code != http.StatusOK || got.Body.String() != "{}" {
		t.Errorf("status %d, body %q", got.Code, got.Body)
	}
}

// An answer that streams is flushed as the backend flushes it.
func TestAnAnswerThatStreamsIsFlushed(t *testing.T) {
	g := newRig(t)
	flushed := false
	g.ask(t, g.cases()["poll"], func(w http.ResponseWriter) {
		answering(200, "{}")(w)
		flushed = http.NewResponseController(w).Flush() == nil
	})
	if !flushed {
		t.Error("it is not flushed")
	}
}

func TestABackendThatAnswersNothingIsAGatewayError(t *testing.T) {
	g := newRig(t)
	got := g.ask(t, g.cases()["query"], func(http.ResponseWriter) {})
	if got.Code != http.StatusBadGateway || !strings.Contains(got.Body.String(), `"code":"!"`) {
		t.Errorf("status %d, body %q", got.Code, got.Body)
	}
}

// A field of the header that comes again as a trailer shows no key either.
func TestR18_ATrailerInPlaceOfAFieldShowsNoKey(t *testing.T) {
	g := newRig(t)
	got := g.ask(t, g.cases()["poll"], func(w http.ResponseWriter) {
		w.Header().Set("Trailer", "X-Late")
		w.Header().Set("X-Late", "early")
		answering(200, "{}")(w)
		w.Header().Set("X-Late", backendKey)
	})
	if late := got.Header().Get("X-Late"); late != strings.Repeat("*", len(backendKey)) {
		t.Errorf("the trailer is %q", late)
	}
}

// A refusal of the upstream key is recognized in any pieces, up to 4 KiB.
func TestR16_ARefusalOfTheUpstreamKeyInPieces(t *testing.T) {
	g := newRig(t)
	for _, test := range []struct {
		size int
		code string
		want int
	}{{100, "-", 502}, {4096, "-", 502}, {4097, "-", 200}, {100, "+", 200}} {
		body := `{"text":"` + strings.Repeat("x", test.size-len(`{"text":"","code":"-"}`)) + `","code":"` + test.code + `"}`
		for _, length := range []string{"", strconv.Itoa(len(body))} {
			got := g.ask(t, g.cases()["query"], func(w http.ResponseWriter) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				for _, piece := range []string{body[:10], body[10:50], body[50:]} {
					_, _ = io.WriteString(w, piece)
				}
			})
			if got.Code != test.want || (got.Body.String() == body) != (test.want == 200) {
				t.Errorf("%d bytes, code %s, Content-Length %q: status %d, body %q", test.size, test.code, length, got.Code, got.Body)
			}
		}
	}
}
