package caddymodule_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// failures are the ways in which a backend can fail before it answers.
var failures = map[string]http.HandlerFunc{
	"hangs up": func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	},
	"speaks no HTTP, and shows its key": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nno header "+backendKey+"\r\n\r\n")
			_ = conn.Close()
		}
	},
}

// brokenOff is half an answer.
func brokenOff(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"sessionid":"half","text":"`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// everyForm sends a key in every way in which clients send it, with copies in places that do not
// authenticate, and returns the answers.
func (g *gateway) everyForm(key, job string) map[string]reply {
	g.t.Helper()
	answers := make(map[string]reply)
	more := "Cookie: k=" + key + "\r\nReferer: https://app.example/?u=" + key + "\r\nX-Trace: sent-with-" + key + "\r\n"
	for name, form := range requestForms {
		answers[name] = g.send(strings.Replace(form(g, key), "\r\nHost:", "\r\n"+more+"Host:", 1))
	}
	answers["a poll"] = g.poll(job, key, more)
	answers["a creation"] = g.send(strings.Replace(g.form("/v1/recognitions?u="+key, [2]string{"u", key}, [2]string{"a", audio}), "\r\nHost:", "\r\n"+more+"Host:", 1))
	return answers
}

// errorRoutes are the things that a site can do with a request whose backend has failed. {other} is
// another backend.
var errorRoutes = map[string]string{
	"reverse_proxy": `reverse_proxy {other}`,
	"rewrite": `rewrite * /failed?{query}
		reverse_proxy {other}`,
	"rewrite by the original": `rewrite * /failed{http.request.orig_uri}
		reverse_proxy {other}`,
	"forward_auth": `forward_auth {other} {
			uri /auth
			copy_headers X-Any
		}
		respond "{uri}"`,
	"respond": `respond "{http.error.message} {uri} {query} {http.request.uri.query.u} {http.request.uri.query.d} {http.request.orig_uri} {http.request.orig_uri.query} {http.request.header.Authorization} {http.request.header.Cookie} {http.request.cookie.k} {http.request.header.Referer} {http.request.header.X-Trace} {http.request.body} {rp.header.X-Debug}"`,
}

func TestR18_ErrorRoutesSeeNeitherKey(t *testing.T) {
	const behindAuth = " behind forward_auth" // which hands on a copy of the request
	routesOf := maps.Clone(errorRoutes)
	for name, routes := range errorRoutes {
		routesOf[name+behindAuth] = routes
	}
	for name, routes := range routesOf {
		t.Run(name, func(t *testing.T) {
			other := newBackend(t)
			auth := ""
			if strings.HasSuffix(name, behindAuth) {
				allows := newBackend(t)
				auth = "forward_auth " + allows.addr() + " {\n uri /\n}\n"
			}
			g := newGatewayWith(t, &gateway{
				order:   "order forward_auth before speechgate",
				options: "upstream_key " + backendKey + "\n backend_errors caddy",
				site: auth + `log_append query {query}
					log_append original {http.request.orig_uri}
					log_append authorization {http.request.header.Authorization}
					log_append body "{http.request.body} "
					handle_errors {
						` + strings.ReplaceAll(routes, "{other}", other.addr()) + `
					}
					@dead header X-Backend dead
					reverse_proxy @dead ` + freeAddr(t) + `
					@error header X-Backend error
					error @error 403
					` + defaultSite,
			})
			key, secret := g.issue(keystore.NewKey{})
			g.recordJob("j", key, now())
			check := func(failure string, answers map[string]reply) {
				t.Helper()
				seen := other.received() + g.log()
				for form, got := range answers {
					seen += got.raw + got.body
					if strings.Contains(got.body, `"code":"!"`) {
						t.Errorf("%s, %s: the gate answered: %q", failure, form, got.body)
					}
				}
				for _, hidden := range []string{secret, backendKey} {
					if i := strings.Index(seen, hidden); i >= 0 {
						t.Errorf("%s: a key is seen: …%q…", failure, seen[max(0, i-300):i+len(hidden)])
					}
				}
			}
			for failure, answer := range failures {
				g.backend.respond(answer)
				check(failure, g.everyForm(secret, "j"))
			}
			g.backend.respond(brokenOff)
			check("breaks off", map[string]reply{"a creation": g.create(secret)})
			g.backend.received()
			for _, failure := range []string{"dead", "error"} {
				answers := make(map[string]reply)
				for form, request := range requestForms {
					answers[form] = g.send(strings.Replace(request(g, secret), "\r\nHost:", "\r\nX-Backend: "+failure+"\r\nHost:", 1))
				}
				answers["a poll"] = g.poll("j", secret, "X-Backend: "+failure+"\r\n", "Cookie: k="+secret+"\r\n")
				check(failure, answers)
			}
			if !strings.Contains(g.log(), `"query":"d=-a-general&c=16K&u=REDACTED"`) || strings.HasPrefix(name, "reverse_proxy") && !strings.Contains(g.log(), `"authorization":["REDACTED"]`) && !strings.Contains(g.log(), `"authorization":"REDACTED"`) {
				t.Errorf("the log lacks the masked query or key:\n%s", g.log())
			}
		})
	}
}

func TestR16_TheGateAnswersForABackendThatFails(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey,
		site: `handle_errors {
				respond "an error route: {http.error.status_code}"
			}
			@dead header X-Backend dead
			reverse_proxy @dead ` + freeAddr(t) + `
			@error header X-Backend error
			error @error 404
			` + defaultSite,
	})
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	const recognizer = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"!","message":"can't connect to recognizer server"}` + "\r\n"
	const job = `{"message":"can't connect to recognizer server"}`
	want := func(failure, form string, got reply) {
		t.Helper()
		body := recognizer
		if form == "a poll" {
			body = job
		}
		if got.status != http.StatusBadGateway || got.body != body || got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Length") == "" {
			t.Errorf("%s, %s: status %d, header %v, body %q", failure, form, got.status, got.header, got.body)
		}
		if strings.Contains(got.raw+got.body, backendKey) {
			t.Errorf("%s, %s: the upstream key is seen", failure, form)
		}
	}
	for failure, answer := range failures {
		g.backend.respond(answer)
		for form, got := range g.everyForm(secret, "j") {
			want(failure, form, got)
		}
	}
	g.backend.respond(brokenOff)
	want("breaks off", "a creation", g.create(secret))
	want("dead", "a poll", g.poll("j", secret, "X-Backend: dead\r\n"))
	for _, text := range []string{`"msg":"backend failed"`, "connection refused", "broke off", "malformed MIME header", `"key_id":"` + key.ID + `"`} {
		if !strings.Contains(g.log(), text) {
			t.Errorf("the log lacks %q", text)
		}
	}
	if got := g.poll("j", secret, "X-Backend: error\r\n"); got.status != http.StatusNotFound || got.body != "an error route: 404" {
		t.Errorf("an error below 500: status %d, body %q", got.status, got.body)
	}
	if strings.Contains(g.log(), backendKey) || strings.Contains(g.log(), secret) {
		t.Error("the log holds a key")
	}
}

// If a client goes away while the backend works, the backend has not failed.
func TestR16_AClientThatGoesAwayIsNotABackendFailure(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	asked := make(chan struct{})
	g.backend.respond(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	conn := g.dial(t)
	_, _ = io.WriteString(conn, "GET /v1/recognitions/j HTTP/1.1\r\nHost: "+g.addr+"\r\nAuthorization: Bearer "+secret+"\r\n\r\n")
	<-asked
	_ = conn.Close()
	eventually(t, func() bool { return strings.Contains(g.log(), `"status":499`) })
	if strings.Contains(g.log(), "backend failed") {
		t.Errorf("the log blames the backend:\n%s", g.log())
	}
}

// If the client has got a part of an answer, the answer cannot be replaced. The client sees that the
// answer broke off.
func TestR16_AnAnswerThatHasBegunIsNotReplaced(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	g.backend.respond(brokenOff)
	conn := g.dial(t)
	_, _ = io.WriteString(conn, "GET /v1/recognitions/j HTTP/1.1\r\nHost: "+g.addr+"\r\nAuthorization: Bearer "+secret+"\r\n\r\n")
	got, _ := io.ReadAll(conn)
	if text := string(got); !strings.HasPrefix(text, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(text, `"text":"`) || strings.Contains(text, "502") {
		t.Errorf("the client got %q", text)
	}
}

// A handler in front of the gate can write a placeholder of the request into the answer, such as
// in Onion-Location. The field does not show the upstream key.
func TestR18_DeferredFieldsShowNoKey(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey,
		site: `header >Onion-Location "http://example.onion{uri} {http.request.header.Authorization} {http.request.header.Accept-Encoding}"
			` + defaultSite,
	})
	_, secret := g.issue(keystore.NewKey{})
	got := g.request("POST /v1/recognize?c=16K&u="+secret, "Accept-Encoding: gzip\r\n")
	if want := "http://example.onion/v1/recognize?c=16K&u=REDACTED  gzip"; got.header.Get("Onion-Location") != want {
		t.Errorf("%q, want %q", got.header.Get("Onion-Location"), want)
	}
}

// In front of the gate, an auth server sees the client's key. Behind the gate, a 403 of the auth
// server is not mistaken for a 403 of the backend.
func TestR18_ForwardAuthBelongsInFrontOfTheGate(t *testing.T) {
	auth := newBackend(t)
	for _, place := range []string{"in front", "behind"} {
		t.Run(place, func(t *testing.T) {
			g := newGatewayWith(t, &gateway{
				options: "upstream_key " + backendKey,
				order:   map[string]string{"in front": "order forward_auth before speechgate"}[place],
				site: "forward_auth " + auth.addr() + ` {
						uri /check
					}
					request_header X-Behind seen
					reverse_proxy {backend} {
						header_up X-Copied {http.request.header.X-Behind}
					}`,
			})
			key, secret := g.issue(keystore.NewKey{})
			g.recordJob("j", key, now())
			auth.respondText(http.StatusNoContent, "")
			auth.received()
			if got := g.poll("j", secret); got.status != http.StatusOK {
				t.Errorf("status %d, body %q", got.status, got.body)
			}
			asked, sent := auth.received(), g.backend.received()
			if strings.Contains(asked, backendKey) != (place == "behind") || strings.Contains(asked, secret) != (place == "in front") {
				t.Errorf("the auth server got\n%s", asked)
			}
			if !strings.Contains(sent, "Bearer "+backendKey) || !strings.Contains(sent, "X-Copied: seen") {
				t.Errorf("the backend got\n%s", sent)
			}
			auth.respondText(http.StatusForbidden, "not you")
			if got := g.poll("j", secret); got.status != http.StatusForbidden || got.body != "not you" || strings.Contains(g.log(), "upstream_refused") {
				t.Errorf("status %d, body %q", got.status, got.body)
			}
		})
	}
}
