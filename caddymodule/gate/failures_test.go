package gate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// failing sends a request whose next handler is this one. It returns the answer, and the error
// that Caddy gets.
func (g *rig) failing(r *http.Request, w *httptest.ResponseRecorder, next caddyhttp.HandlerFunc) error {
	return g.gate.ServeHTTP(final{w}, r, next)
}

// Caddy gets an error if the error routes of the site have to answer, and the gate answers
// otherwise. An answer that has begun is never replaced.
func TestR16_WhoAnswersForANextHandlerThatFails(t *testing.T) {
	fails := func(err error) caddyhttp.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) error { return err }
	}
	breaksOff := func(status int) caddyhttp.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("X-Backend", "x")
			w.WriteHeader(status)
			panic(http.ErrAbortHandler)
		}
	}
	rigs := map[string]*rig{"": newRig(t), "caddy": newRigWith(t, &Gate{UpstreamKey: backendKey, BackendErrors: "caddy"})}
	for name, test := range map[string]struct {
		target string // a poll by default
		next   caddyhttp.HandlerFunc
		errs   string // backend_errors
		gone   bool   // the client has gone
		code   int    // of the gate's answer; 0 if Caddy gets the error
		logged bool   // as a failure of the backend
	}{
		"an error without a status":        {next: fails(io.ErrUnexpectedEOF), code: 502, logged: true},
		"an error whose status is 0":       {next: fails(caddyhttp.HandlerError{Err: io.EOF}), code: 502, logged: true},
		"status 500":                       {next: fails(caddyhttp.Error(500, io.EOF)), code: 502, logged: true},
		"status 504":                       {next: fails(caddyhttp.Error(504, io.EOF)), code: 502, logged: true},
		"status 504, and error routes":     {next: fails(caddyhttp.Error(504, io.EOF)), errs: "caddy"},
		"no status, and error routes":      {next: fails(io.EOF), errs: "caddy"},
		"status 499":                       {next: fails(caddyhttp.Error(499, io.EOF))},
		"status 413":                       {next: fails(caddyhttp.Error(413, io.EOF))},
		"status 502 of a client that left": {next: fails(caddyhttp.Error(502, io.EOF)), gone: true},
		"a creation breaks off":            {target: "creation", next: breaksOff(200), code: 502, logged: true},
		"a creation, and error routes":     {target: "creation", next: breaksOff(200), errs: "caddy"},
		"a recognition breaks off":         {target: "query", next: breaksOff(200), code: 502, logged: true},
		"a redirect breaks off":            {next: breaksOff(302), code: 502},
		"a refusal of the key breaks off":  {next: breaksOff(401), code: 502},
	} {
		g := rigs[test.errs]
		logs := g.logs()
		c := g.cases()["poll"]
		switch test.target {
		case "creation":
			c = g.creation()
		case "query":
			c = g.cases()["query"]
		}
		w := httptest.NewRecorder()
		r := c.request(w)
		if test.gone {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			r = r.WithContext(ctx)
		}
		err := g.failing(r, w, test.next)
		if (err != nil) != (test.code == 0) || err == nil && (w.Code != test.code || !strings.Contains(w.Body.String(), "can't connect to recognizer server")) {
			t.Errorf("%s: %v, status %d, body %q", name, err, w.Code, w.Body)
		}
		if w.Header().Get("X-Backend") != "" {
			t.Errorf("%s: the header has fields of the answer that is not sent: %v", name, w.Header())
		}
		if got := logs.FilterMessage("backend failed").Len() == 1; got != test.logged {
			t.Errorf("%s: the log is %v", name, logs.All())
		}
	}
}

// The connection of a client that has got a part of an answer must break off too. Another panic is
// a defect, and Caddy logs it.
func TestR16_APanicGoesOn(t *testing.T) {
	bug := errors.New("a bug")
	for name, test := range map[string]struct {
		begin bool
		value error
	}{"an answer that has begun": {true, http.ErrAbortHandler}, "a bug": {false, bug}, "a bug in an answer": {true, bug}} {
		g := newRig(t)
		w := httptest.NewRecorder()
		got := func() (value any) {
			defer func() { value = recover() }()
			_ = g.failing(g.cases()["poll"].request(w), w, func(w http.ResponseWriter, _ *http.Request) error {
				if test.begin {
					w.WriteHeader(http.StatusOK)
				}
				panic(test.value)
			})
			return nil
		}()
		if got != any(test.value) {
			t.Errorf("%s: the panic is %v", name, got)
		}
	}
}

// An error that goes to the error routes keeps its status and shows no key, and neither does the
// request.
func TestR18_AFailedRequestShowsNoKey(t *testing.T) {
	g := newRigWith(t, &Gate{UpstreamKey: backendKey, BackendErrors: "caddy"})
	for name, test := range map[string]struct {
		err    error
		status int // 0 if the error is not of Caddy
	}{
		"of Caddy":   {caddyhttp.Error(502, errors.New("bad "+backendKey+" for "+g.secret)), 502},
		"of another": {errors.New("bad " + backendKey + " for " + g.secret), 0},
		"harmless":   {io.ErrUnexpectedEOF, 0},
	} {
		c := g.cases()["query"]
		w := httptest.NewRecorder()
		r := c.request(w)
		r.Header["X-Trace"] = []string{"a " + g.secret, "b", "https://a.example/?u=" + g.secret + "&x=1"}
		r.Header["Cookie"], r.Header["Proxy-Authorization"], r.Header["Expect"] = []string{"a=b"}, []string{"c"}, []string{"100-continue"}
		err := g.failing(r, w, func(_ http.ResponseWriter, r *http.Request) error {
			_ = r.ParseMultipartForm(1 << 10)
			r.Header.Set("X-Behind", "sent with "+backendKey)
			r.TransferEncoding = []string{"chunked"}
			caddyReplacer(r).Set("http.reverse_proxy.header.X-Debug", backendKey)
			return test.err
		})
		var withStatus caddyhttp.HandlerError
		if is := errors.As(err, &withStatus); err == nil || is != (test.status != 0) || withStatus.StatusCode != test.status {
			t.Errorf("%s: the error is %#v", name, err)
		}
		if name == "harmless" && !errors.Is(err, test.err) {
			t.Errorf("the error is %v", err)
		}
		original := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
		uri, _ := caddyReplacer(r).GetString("http.request.orig_uri")
		debug, _ := caddyReplacer(r).GetString("http.reverse_proxy.header.X-Debug")
		for where, text := range map[string]string{
			"the error": err.Error(), "the URL": r.URL.String(), "the URI": r.RequestURI, "the original URL": original.URL.String(),
			"the original URI": original.RequestURI, "the placeholder of the URI": uri, "a placeholder of the answer": debug,
			"the header": strings.Join(append(r.Header["X-Trace"], r.Header["X-Behind"]...), " "), "the form": r.Form.Encode(), "the posted form": r.PostForm.Encode(),
		} {
			if strings.Contains(text, g.secret) || strings.Contains(text, backendKey) {
				t.Errorf("%s: %s has a key: %s", name, where, text)
			}
		}
		if got := strings.Join(r.Header["X-Trace"], ", "); got != "a REDACTED, b, https://a.example/?u=REDACTED&x=1" {
			t.Errorf("%s: X-Trace is %q", name, got)
		}
		if original.URL.RawQuery != "d=-a-general&c=16K&u=REDACTED" || original.RequestURI != "/v1/recognize?d=-a-general&c=16K&u=REDACTED" || uri != original.RequestURI {
			t.Errorf("%s: the original URI is %q, and its query %q", name, original.RequestURI, original.URL.RawQuery)
		}
		for _, field := range []string{"Cookie", "Proxy-Authorization", "Expect", "Content-Length"} {
			if r.Header[field] != nil {
				t.Errorf("%s: the error routes get %s", name, field)
			}
		}
		if body, _ := io.ReadAll(r.Body); len(body) > 0 || r.ContentLength != 0 || r.TransferEncoding != nil || r.Form != nil || r.MultipartForm != nil {
			t.Errorf("%s: the error routes get a body: %q, %d, %v", name, body, r.ContentLength, r.Form)
		}
	}
}

func caddyReplacer(r *http.Request) *caddy.Replacer {
	return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

// The fields that later handlers and the gate itself set are those of the client again.
func TestR18_TheRequestIsRestored(t *testing.T) {
	for _, key := range []string{backendKey, "drop"} {
		g := newRigWith(t, &Gate{UpstreamKey: key})
		for name, c := range g.cases() {
			for _, sent := range []bool{true, false} { // whether the client has sent the fields
				w := httptest.NewRecorder()
				r := c.request(w)
				r.Trailer = http.Header{"X-Late": nil}
				if sent {
					r.Header["Accept-Encoding"] = []string{"gzip"}
				}
				want := r.Header.Clone()
				body, length := r.Body, r.ContentLength
				err := g.failing(r, w, func(w http.ResponseWriter, r *http.Request) error {
					if r.Trailer != nil {
						t.Errorf("%s: the trailers go upstream", name)
					}
					_, _ = io.Copy(io.Discard, r.Body)
					for _, field := range []string{"Accept-Encoding", "Content-Type", "Content-Length"} {
						if _, had := want[field]; had || r.Header[field] != nil || field == "Accept-Encoding" {
							r.Header[field] = []string{"changed"}
						}
					}
					w.WriteHeader(http.StatusOK)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, field := range []string{"Accept-Encoding", "Content-Type", "Content-Length", "User-Agent"} {
					if field == "Accept-Encoding" && key == "drop" && name != "poll" && !sent {
						continue // the gate does not touch the field
					}
					if got, had := r.Header[field], want[field]; strings.Join(got, ", ") != strings.Join(had, ", ") || (got == nil) != (had == nil) {
						t.Errorf("upstream_key %s, %s: %s is %q, want %q", key, name, field, got, had)
					}
				}
				if r.ContentLength != length || r.Body != body {
					t.Errorf("%s: the body is not restored", name)
				}
			}
		}
	}
}

// A handler in front of the gate can change the query without the URI, or the URI without the
// query.
func TestR18_AChangedQueryIsMasked(t *testing.T) {
	g := newRig(t)
	for uri, query := range map[string]string{
		"/v1/recognize":               "u=" + g.secret + "&c=16K",
		"/v1/recognize?c=16K":         "c=16K&u=" + g.secret,
		"/old?u=" + g.secret + "&x=1": "u=" + g.secret,
	} {
		w := httptest.NewRecorder()
		r := (&gateCase{method: "POST", target: "/v1/recognize", body: []byte("RIFF")}).request(w)
		r.RequestURI, r.URL = uri, &url.URL{Path: "/v1/recognize", RawQuery: query}
		err := g.failing(r, w, func(w http.ResponseWriter, r *http.Request) error {
			if !strings.Contains(r.URL.RawQuery, "u="+backendKey) {
				t.Errorf("the query that goes upstream is %q", r.URL.RawQuery)
			}
			w.WriteHeader(http.StatusOK)
			return nil
		})
		want := strings.ReplaceAll(query, g.secret, "REDACTED")
		if err != nil || w.Code != http.StatusOK || r.URL.RawQuery != want || strings.Contains(r.RequestURI, g.secret) {
			t.Errorf("%v, status %d: the query is %q, want %q; the URI is %q", err, w.Code, r.URL.RawQuery, want, r.RequestURI)
		}
	}
}
