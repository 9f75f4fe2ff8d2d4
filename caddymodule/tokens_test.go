package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// recordToken records a token that the backend has minted for a key an hour ago. It is valid for this long
// from now.
func (g *gateway) recordToken(owner policy.Key, backend, token string, valid time.Duration) {
	g.t.Helper()
	if err := g.keys.RecordToken(g.t.Context(), &keystore.WriteReservation{}, keystore.NewToken{
		Backend: backend, Secret: policy.NewSecret(token), KeyID: owner.ID, CreatedAt: now().Add(-time.Hour), ExpiresAt: now().Add(valid),
	}); err != nil {
		g.t.Fatal(err)
	}
}

func TestTokens_EndWithTheirOwner(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	ctx := t.Context()
	const valid = 10 * time.Minute
	older := now().Add(-2 * time.Hour)
	listen := func(token string, lines ...string) reply {
		g.t.Helper()
		return g.send(g.deepgramListen("RIFF", append(lines, "Authorization: Bearer "+token)...))
	}
	for name, end := range map[string]func(policy.Key) error{
		"revoked":        func(k policy.Key) error { _, err := g.keys.RevokeKey(ctx, now(), operator, k.ID, ""); return err },
		"deleted":        func(k policy.Key) error { _, err := g.keys.DeleteKey(ctx, now(), operator, k.ID); return err },
		"suspended":      func(k policy.Key) error { _, err := g.keys.SuspendKey(ctx, now(), operator, k.ID, ""); return err },
		"account closed": func(k policy.Key) error { _, err := g.keys.CloseAccount(ctx, now(), operator, k.AccountID); return err },
		"account suspended": func(k policy.Key) error {
			_, err := g.keys.SuspendAccount(ctx, now(), operator, k.AccountID, "")
			return err
		},
	} {
		owner, _ := g.issueAt(older, keystore.NewKey{AccountID: g.newAccount(name).ID})
		token := "token-of-" + strings.ReplaceAll(name, " ", "-")
		g.recordToken(owner, "deepgram", token, valid)
		if got := listen(token); got.status != http.StatusOK {
			t.Errorf("%s, before: status %d, %s", name, got.status, got.body)
		}
		if err := end(owner); err != nil {
			t.Fatal(err)
		}
		// The server learns within a quarter of a second what another process has changed.
		eventually(t, func() bool { return listen(token).status == http.StatusUnauthorized })
		_ = g.backend.received()
		if got := listen(token); got.status != http.StatusUnauthorized || g.backend.received() != "" {
			t.Errorf("%s: status %d, %s", name, got.status, got.body)
		}
	}

	bound, _ := g.issueAt(older, keystore.NewKey{Allow: g.allow("127.0.0.1")})
	g.recordToken(bound, "deepgram", "token-bound", valid)
	if got := listen("token-bound"); got.status != http.StatusOK {
		t.Errorf("from the owner's address: status %d", got.status)
	}
	if got := listen("token-bound", "X-Forwarded-For: 203.0.113.9"); got.status != http.StatusForbidden {
		t.Errorf("from another address: status %d", got.status)
	}

	owner, _ := g.issueAt(older, keystore.NewKey{})
	expired, _ := g.expired()
	g.recordToken(owner, "deepgram", "token-that-expired", -time.Minute)
	g.recordToken(owner, "another", "token-of-another-backend", valid)
	g.recordToken(expired, "deepgram", "token-of-an-expired-key", valid)
	_ = g.backend.received()
	for _, token := range []string{"token-that-expired", "token-of-another-backend", "token-of-an-expired-key", "token-of-nobody", "TOKEN-BOUND"} {
		for _, path := range []string{"POST /v1/listen", "GET /v1/models", "POST /v1/auth/grant"} {
			method, path, _ := strings.Cut(path, " ")
			if got := g.ask(method, path, "Bearer "+token, ""); got.status != http.StatusUnauthorized {
				t.Errorf("%s %s: status %d", token, path, got.status)
			}
		}
	}
	// A token gets no other token, and does not count where the API takes keys only.
	g.recordToken(owner, "deepgram", "token-that-is-good", valid)
	for authorization, path := range map[string]string{"Bearer token-that-is-good": "/v1/auth/grant", "Token token-that-is-good": "/v1/listen"} {
		if got := g.ask("POST", path, authorization, ""); got.status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", path, got.status)
		}
	}
	if received := g.backend.received(); received != "" {
		t.Errorf("the backend got %q", received)
	}
}

// The token of an expired key reads the jobs that the key has created, as the key itself does, and nothing
// else.
func TestR12_TheGraceOfAKeyIsThatOfItsTokens(t *testing.T) {
	g := newDialectGateway(t, "speechmatics", "")
	expired, _ := g.expired()
	other, _ := g.issue(keystore.NewKey{})
	g.recordToken(expired, "speechmatics", "token-of-an-expired-key", 10*time.Minute)
	g.recordToken(expired, "speechmatics", "token-that-expired", -time.Minute)
	g.recordJob("own", expired, now().Add(-90*time.Minute))
	g.recordJob("of-the-account", other, now())
	for target, want := range map[string]int{
		"GET /v2/jobs/own": http.StatusOK, "GET /v2/jobs/own/transcript": http.StatusOK, "GET /v2/jobs/of-the-account": http.StatusForbidden,
		"DELETE /v2/jobs/own": http.StatusForbidden, "GET /v2/jobs": http.StatusForbidden, "POST /v2/jobs": http.StatusForbidden, "POST /v1/api_keys": http.StatusForbidden,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := g.ask(method, path, "Bearer token-of-an-expired-key", ""); got.status != want {
			t.Errorf("%s: status %d, want %d", target, got.status, want)
		}
		if got := g.ask(method, path, "Bearer token-that-expired", ""); got.status != http.StatusForbidden {
			t.Errorf("%s by a token that has expired: status %d", target, got.status)
		}
	}
}

// TestTokens_OddAnswersToAMint: the client learns no token that the gate does not know, if the answer could
// be read in two ways.
func TestTokens_OddAnswersToAMint(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	_, key := g.issue(keystore.NewKey{})
	_, theirs := g.issue(keystore.NewKey{AccountID: g.newAccount("Other").ID})
	const token = "odd-token-0123456789"
	grant := func(secret string) reply { return g.ask("POST", "/v1/auth/grant", "Token "+secret, "{}") }
	good := `{"access_token":"` + token + `"}`
	for name, answer := range map[string]func(http.ResponseWriter){
		"two members": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"access_token":"a","access_token":"` + token + `"}`))
		},
		"another case":            func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"Access_Token":"` + token + `"}`)) },
		"a byte order mark":       func(w http.ResponseWriter) { _, _ = w.Write([]byte("\ufeff" + good)) },
		"an array":                func(w http.ResponseWriter) { _, _ = w.Write([]byte("[" + good + "]")) },
		"two objects":             func(w http.ResponseWriter) { _, _ = w.Write([]byte(good + good)) },
		"half an object":          func(w http.ResponseWriter) { _, _ = w.Write([]byte(good[:len(good)-1])) },
		"a token that is no text": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"access_token":["` + token + `"]}`)) },
		"a token with a space":    func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"access_token":"` + token + ` x"}`)) },
		"a token that is too long": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"access_token":"` + token + strings.Repeat("x", policy.MaxTokenLen) + `"}`))
		},
		"an answer that is too long": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"access_token":"` + token + `","x":"` + strings.Repeat("x", 64<<10) + `"}`))
		},
		"an expiry that is no number": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"access_token":"` + token + `","expires_in":"NaN"}`))
		},
		"a key of another account": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"access_token":"` + theirs + `"}`)) },
		"a compressed answer": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte(good))
		},
		"an answer that breaks off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(good))
		},
		"a redirect": func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://other.example/"+token)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
	} {
		g.backend.respond(func(w http.ResponseWriter, _ *http.Request) { answer(w) })
		if got := grant(key); got.status != http.StatusBadGateway || strings.Contains(got.body+got.header.Get("Location"), token) {
			t.Errorf("%s: status %d, %.200s", name, got.status, got.body)
		}
		if got := g.ask("GET", "/v1/models", "Bearer "+token, ""); got.status != http.StatusUnauthorized {
			t.Errorf("%s: the token is good, status %d", name, got.status)
		}
	}
	g.backend.respondText(http.StatusOK, good)
	if got := grant(key); got.status != http.StatusOK {
		t.Fatalf("a good answer: status %d, %s", got.status, got.body)
	}
	if got := grant(theirs); got.status != http.StatusBadGateway {
		t.Errorf("the same token for another account: status %d, %s", got.status, got.body)
	}
}
