package caddymodule_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// After every kind of refusal and error with marked keys, at debug level, no secret is in the log,
// in an answer or in the store.
func TestR18_NoSecretIsLeftAnywhere(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey + "\n grace_after_end 1h",
		// Handlers in front of the gate and behind it write to the log, too.
		site: `rewrite /old/* /v1/recognize?{query}
			@dead path /v1/nolog/recognize
			reverse_proxy @dead 127.0.0.1:1
			` + defaultSite,
	})
	key, good := g.issue(keystore.NewKey{})
	_, expired := g.expired()
	_, elsewhere := g.issue(keystore.NewKey{Allow: g.allow("203.0.113.0/24")})
	revoked, revokedKey := g.issue(keystore.NewKey{})
	if _, err := g.keys.RevokeKey(context.Background(), now(), operator, revoked.ID, "test"); err != nil {
		t.Fatal(err)
	}
	const imported = "an-imported-canary-of-another-form"
	secrets := []string{good, expired, elsewhere, revokedKey, imported, backendKey}
	g.recordJob("j", key, now())

	var answers strings.Builder
	keep := func(got reply) { _, _ = fmt.Fprintln(&answers, got.raw, got.body, got.trailer) }
	clients := []string{good, expired, elsewhere, revokedKey, imported, good[:len(good)-2] + "zz", good + "\x01"}
	all := func() {
		for _, key := range clients {
			for _, form := range requestForms {
				keep(g.send(form(g, key)))
			}
			keep(g.poll("j", key))
			keep(g.poll("other", key, "Referer: https://app.example/?u="+key+"\r\n", "Cookie: k="+key+"\r\n"))
			keep(g.create(key))
			keep(g.request("GET /v1/none?u="+key+"&d=x+authorization%3D"+key, "Authorization: Token "+key+"\r\n"))
			keep(g.request("POST /old/x?u=" + key))
			keep(g.request("POST /v1/recognize?U=" + key))
			keep(g.request("POST /v1/recognize?x=1;u=" + key))
			keep(g.request("POST /v1/nolog/recognize?u="+key, "Origin: https://a.example\r\n"))
			keep(g.send(strings.Replace(g.form("/v1/recognize?u="+key, [2]string{"u", good}, [2]string{"a", audio}),
				"boundary=", "boundary=other; boundary=", 1)))
			keep(g.send(g.form("/v1/recognize", [2]string{"d", "x  authorization=" + key}, [2]string{"a", audio})))
		}
	}
	all()

	// A backend that shows the upstream key in every place.
	leak := `{"status":"error","message":"bad key ` + backendKey + `"}`
	for _, status := range []int{200, 201, 302, 400, 401, 403, 404, 500} {
		for _, gzipped := range []string{"", "gzip"} {
			g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				header := w.Header()
				header.Set("Location", "/x?u="+backendKey)
				header.Set("X-Debug", "key="+backendKey)
				header.Set("Set-Cookie", "session="+backendKey)
				header.Set("Trailer", "X-Trailing")
				if gzipped != "" {
					header.Set("Content-Encoding", gzipped)
				}
				w.WriteHeader(status)
				half := strings.Index(leak, backendKey) + 7
				_, _ = io.WriteString(w, leak[:half])
				_ = http.NewResponseController(w).Flush()
				_, _ = io.WriteString(w, leak[half:])
				header.Set("X-Trailing", backendKey)
			})
			all()
		}
	}
	// A backend that breaks off.
	g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, leak)
		panic(http.ErrAbortHandler)
	})
	poll := func() {
		conn := g.dial(t)
		_, _ = io.WriteString(conn, "GET /v1/recognitions/j HTTP/1.1\r\nHost: "+g.addr+"\r\nAuthorization: Bearer "+good+"\r\nConnection: close\r\n\r\n")
		broken, _ := io.ReadAll(conn)
		answers.Write(broken)
	}
	poll()
	// A backend that does not speak HTTP. The proxy quotes its answer in an error.
	g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nno header "+backendKey+"\r\n\r\n")
		_ = conn.Close()
	})
	poll()
	// A backend that sends the upstream key as the ID of a job, and one that sends an ID twice.
	for _, id := range []string{backendKey, "twice", "twice"} {
		g.backend.creating(id, "")
		keep(g.create(good))
	}
	// A client that goes away in the middle of its form.
	conn := g.dial(t)
	_, _ = io.WriteString(conn, g.form("/v1/recognize", [2]string{"u", good}, [2]string{"a", audio})[:400])
	_ = conn.Close()
	// A record that cannot be written.
	allowJobs := g.refuseJobs()
	g.backend.creating("unwritten", "")
	unwritten := g.create(good)
	if unwritten.status != http.StatusServiceUnavailable {
		t.Errorf("a job without a record: status %d", unwritten.status)
	}
	keep(unwritten)
	allowJobs()

	// A keystore that cannot be read.
	store := g.storeBytes()
	g.place.Spoil(t)
	eventually(t, func() bool { return g.poll("j", good).status == http.StatusServiceUnavailable })
	all()

	for where, text := range map[string]string{"an answer": answers.String(), "the log": g.log(), "the keystore": store} {
		if len(text) < 1000 {
			t.Errorf("%s is short: %q", where, text)
		}
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s holds a secret: …%q…", where, text[max(0, i-300):min(len(text), i+100)])
			}
		}
	}
	for _, word := range []string{"adjusted config", `"reason":"key_expired"`, `"reason":"store_unavailable"`, "REDACTED", "answer withheld", "backend failed", "upstream key refused", "upstream roundtrip", "malformed MIME header", `"job_id":"twice"`, `"job_id":"unwritten"`} {
		if !strings.Contains(g.log(), word) {
			t.Errorf("the log lacks %q: was it at debug level?", word)
		}
	}
}

// storeBytes returns all bytes of the files of the keystore, or all values of its tables.
func (g *gateway) storeBytes() string {
	g.t.Helper()
	if g.place.IsPostgreSQL() {
		return g.place.Dump(g.t)
	}
	files, err := filepath.Glob(string(g.place) + "*")
	if err != nil || len(files) == 0 {
		g.t.Fatalf("%v: %v", files, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			g.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func TestR18_AnswersOfTheBackendDoNotShowTheUpstreamKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	for _, status := range []int{301, 302, 303, 307, 308, 304, 401} {
		t.Run(fmt.Sprint(status, " becomes the gateway's error"), func(t *testing.T) {
			g.t = t
			g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(status)
			})
			got := g.poll("j", secret)
			if got.status != http.StatusBadGateway || got.header.Get("Location") != "" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, header %v", got.status, got.header)
			}
		})
	}
	t.Run("403, 404 and 500 of the backend pass, with the key masked", func(t *testing.T) {
		g.t = t
		for _, status := range []int{403, 404, 500} {
			g.backend.respondText(status, `{"message":"`+backendKey+`"}`)
			want := `{"message":"` + strings.Repeat("*", len(backendKey)) + `"}`
			if got := g.poll("j", secret); got.status != status || got.body != want {
				t.Errorf("status %d, body %q", got.status, got.body)
			}
		}
	})
	t.Run("a gate with upstream_key pass does not change the answers of the backend", func(t *testing.T) {
		g := newGateway(t, "upstream_key pass")
		key, secret := g.issue(keystore.NewKey{})
		g.recordJob("j", key, now())
		g.backend.respondText(http.StatusUnauthorized, "as it is")
		if got := g.poll("j", secret); got.status != http.StatusUnauthorized || got.body != "as it is" {
			t.Errorf("status %d, body %q", got.status, got.body)
		}
	})
}

// A backend can send a field behind the body, announced or not.
func TestR18_TrailersOfTheBackendAreMasked(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	for _, status := range []int{http.StatusOK, http.StatusNotFound} {
		for announced, prefix := range map[string]string{"X-Debug, X-Other, Set-Cookie": "", "": http.TrailerPrefix} {
			g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if announced != "" {
					w.Header().Set("Trailer", announced)
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"status":"queued"}`)
				_ = http.NewResponseController(w).Flush()
				w.Header().Set(prefix+"X-Debug", "key="+backendKey)
				w.Header().Set(prefix+"X-Other", "kept")
				w.Header().Set(prefix+"Set-Cookie", "session=1")
			})
			got := g.poll("j", secret)
			debug, masked := got.trailer.Get("X-Debug"), "key="+strings.Repeat("*", len(backendKey))
			if got.status != status || debug != masked || got.trailer.Get("X-Other") != "kept" || got.trailer.Get("Set-Cookie") != "" {
				t.Errorf("status %d, announced %q: the trailers are %v, want X-Debug: %s", got.status, announced, got.trailer, masked)
			}
		}
	}
}

// The gate holds back the bytes at the end of a piece that may be the beginning of its
// upstream key. If the answer ends there, they are no secret.
func TestR18_AnAnswerThatEndsLikeTheBeginningOfTheKeyIsWhole(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	for _, status := range []int{http.StatusOK, http.StatusNotFound} {
		for n := range len(backendKey) {
			body := `{"status":"queued"} ` + backendKey[:n]
			g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if n%2 == 0 {
					w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
			g.wantPoll("j", secret, status, body)
		}
	}
}

func TestR19_OnlyKnownFieldsGoUpstream(t *testing.T) {
	for mode, authorization := range map[string]string{"drop": "", "pass": "client", backendKey: backendKey} {
		t.Run("upstream_key "+mode, func(t *testing.T) {
			g := newGateway(t, "upstream_key "+mode)
			key, secret := g.issue(keystore.NewKey{})
			g.recordJob("j", key, now())
			g.poll("j", secret, "Cookie: session=1\r\n", "TE: trailers\r\n", "Connection: Authorization, X-Forwarded-For\r\n",
				"Proxy-Authorization: Basic eDp5\r\n", "X-Own: kept\r\n", "Accept-Encoding: gzip\r\n", "Range: bytes=0-1\r\n")
			sent := g.backend.received()
			if authorization == "client" {
				authorization = secret
			}
			if authorization == "" && strings.Contains(sent, "Authorization") ||
				authorization != "" && !strings.Contains(sent, "\r\nAuthorization: Bearer "+authorization+"\r\n") {
				t.Errorf("the backend got\n%s", sent)
			}
			for _, name := range []string{"Cookie", "TE:", "Proxy-Authorization", "Range", "gzip"} {
				if strings.Contains(sent, name) {
					t.Errorf("%s went upstream:\n%s", name, sent)
				}
			}
			if !strings.Contains(sent, "X-Own: kept") || !strings.Contains(sent, "Accept-Encoding: identity") {
				t.Errorf("the backend got\n%s", sent)
			}
		})
	}
	t.Run("a key in a place that the operation does not read counts, and is removed", func(t *testing.T) {
		g := newGateway(t, "upstream_key "+backendKey)
		key, secret := g.issue(keystore.NewKey{})
		g.recordJob("j", key, now())
		bearer := "Authorization: Bearer " + secret + "\r\n"
		for what, got := range map[string]reply{
			"alone":        g.request("GET /v1/recognitions/j?u=" + secret),
			"another key":  g.request("GET /v1/recognitions/j?u=another", bearer),
			"another in d": g.request("GET /v1/recognitions/j?d=authorization%3Danother", bearer),
		} {
			if got.status != http.StatusUnauthorized {
				t.Errorf("%s: status %d", what, got.status)
			}
		}
		g.backend.received()
		if got := g.request("GET /v1/recognitions/j?x=1&u="+secret, bearer); got.status != http.StatusOK {
			t.Errorf("the same key twice: status %d", got.status)
		}
		if sent := g.backend.received(); target(sent) != "/v1/recognitions/j?x=1" || strings.Count(sent, backendKey) != 1 {
			t.Errorf("the backend got\n%s", sent)
		}
	})
	t.Run("every copy of a key is replaced", func(t *testing.T) {
		g := newGateway(t, "upstream_key "+backendKey)
		_, secret := g.issue(keystore.NewKey{})
		line := "POST /v1/recognize?u=" + secret
		wantDenied(t, g.request(line, "Authorization: Bearer another\r\n"))
		g.backend.received()
		if got := g.request(line, "Authorization: Bearer "+secret+"\r\n"); got.status != http.StatusOK {
			t.Errorf("status %d", got.status)
		}
		if sent := g.backend.received(); strings.Contains(sent, secret) || strings.Count(sent, backendKey) != 2 {
			t.Errorf("the backend got\n%s", sent)
		}
	})
}

func TestPlaceholdersNameTheKeyAndTheDecision(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey,
		// Deferred, so that the placeholders are resolved when the answer is written.
		site: `header >X-Seen "{http.auth.user.id} {speechgate.account_id} {speechgate.key_id} {speechgate.operation} {speechgate.reason}"
			` + defaultSite,
	})
	key, secret := g.issue(keystore.NewKey{})
	expired, expiredSecret := g.expired()
	g.recordJob("j", key, now())
	const unset = "{http.auth.user.id}" // nobody has been authenticated
	for secret, want := range map[string]string{
		secret:        strings.Join([]string{key.AccountID, key.AccountID, key.ID, "read_job", "allowed"}, " "),
		expiredSecret: strings.Join([]string{unset, key.AccountID, expired.ID, "read_job", "key_expired"}, " "),
		"nobody":      unset + "   read_job key_unknown",
	} {
		if got := g.poll("j", secret).header.Get("X-Seen"); got != want {
			t.Errorf("the placeholders are %q, want %q", got, want)
		}
	}
}
