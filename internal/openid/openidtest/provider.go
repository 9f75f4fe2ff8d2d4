// Package openidtest is an OpenID Connect provider for tests. It checks what a client sends, as
// a provider does, and can be told to lie.
package openidtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the provider has registered.
const (
	ClientID = "speechgate"
	Secret   = "the secret of the client"
	keyID    = "key-1"
)

// Provider is a provider with one user, who is signed in. A test sets the fields before requests
// use them.
type Provider struct {
	// URL is the issuer. Its host is localhost: for a browser, this is another site than 127.0.0.1.
	URL string
	// Now is the clock of the provider.
	Now func() time.Time
	// User has the claims about the user, which begin with those of a user with a verified email
	// address.
	User map[string]any

	// Claims changes the claims of an ID token before it is signed.
	Claims func(map[string]any)
	// Document changes the discovery document.
	Document func(map[string]any)
	// Algorithm is in the header of an ID token. With none, there is no signature; with HS256,
	// it is made with the client's secret.
	Algorithm string
	// Stranger signs ID tokens with a key that the provider has not published.
	Stranger bool
	// UserInfo changes the answer of the endpoint userinfo. If it is nil, there is no such endpoint.
	UserInfo func(map[string]any)

	key    *ecdsa.PrivateKey
	forged *ecdsa.PrivateKey

	mu      sync.Mutex
	instead func(http.ResponseWriter, *http.Request) bool // see AnswerWith
	codes   map[string]url.Values                         // the requests of codes that were not used
	asked   map[string]int                                // requests by path
}

// Start starts a provider that ends with the test.
func Start(t *testing.T) *Provider {
	t.Helper()
	p := &Provider{Now: time.Now, Algorithm: "ES256", codes: make(map[string]url.Values), asked: make(map[string]int)}
	p.User = map[string]any{"sub": "user-1", "email": "tanaka@example.com", "email_verified": true}
	for _, key := range []**ecdsa.PrivateKey{&p.key, &p.forged} {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		*key = made
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.document)
	mux.HandleFunc("GET /auth", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /userinfo", p.userInfo)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		instead := p.instead
		p.mu.Unlock()
		if instead == nil || !instead(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	p.URL = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	return p
}

// AnswerWith lets a function answer each later request for which it returns true. With nil, the
// provider answers all of them.
func (p *Provider) AnswerWith(instead func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead = instead
}

// Asked returns how many requests for a path there were.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *Provider) document(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256"},
	}
	if p.UserInfo != nil {
		doc["userinfo_endpoint"] = p.URL + "/userinfo"
	}
	if p.Document != nil {
		p.Document(doc)
	}
	answer(w, http.StatusOK, doc)
}

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	scopes := strings.Fields(q.Get("scope"))
	if q.Get("client_id") != ClientID || q.Get("response_type") != "code" || len(scopes) == 0 || scopes[0] != "openid" ||
		q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || q.Get("nonce") == "" || q.Get("state") == "" {
		http.Error(w, "a bad request of a client: "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = q
	p.mu.Unlock()
	w.Header().Set("Location", q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode())
	w.WriteHeader(http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth() // both are URL-encoded
	if id == "" {
		id, secret = r.PostFormValue("client_id"), url.QueryEscape(r.PostFormValue("client_secret"))
	}
	p.mu.Lock()
	asked, known := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	p.mu.Unlock()
	verifier := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case id != ClientID || secret != url.QueryEscape(Secret):
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
	case !known || r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") || encode(verifier[:]) != asked.Get("code_challenge"):
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
	default:
		answer(w, http.StatusOK, map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": p.idToken(asked.Get("nonce"))})
	}
}

func (p *Provider) idToken(nonce string) string {
	now := p.Now().Unix()
	claims := map[string]any{"iss": p.URL, "aud": ClientID, "iat": now, "exp": now + 300, "nonce": nonce}
	maps.Copy(claims, p.User)
	if p.Claims != nil {
		p.Claims(claims)
	}
	head := encodeJSON(map[string]any{"alg": p.Algorithm, "kid": keyID, "typ": "JWT"})
	text := head + "." + encodeJSON(claims)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	switch p.Algorithm {
	case "none":
	case "HS256":
		signature = hmacOf(Secret, text)
	default:
		key := p.key
		if p.Stranger {
			key = p.forged
		}
		first, second, _ := ecdsa.Sign(rand.Reader, key, sum[:]) // the key is good
		signature = append(first.FillBytes(make([]byte, 32)), second.FillBytes(make([]byte, 32))...)
	}
	return text + "." + encode(signature)
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	point, _ := p.key.PublicKey.Bytes() // 4, x, y; the key is good
	answer(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": keyID, "x": encode(point[1:33]), "y": encode(point[33:]),
	}}})
}

func (p *Provider) userInfo(w http.ResponseWriter, r *http.Request) {
	if p.UserInfo == nil || r.Header.Get("Authorization") != "Bearer access" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	info := maps.Clone(p.User)
	p.UserInfo(info)
	answer(w, http.StatusOK, info)
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // a client that is gone reads no answer
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encodeJSON(value map[string]any) string {
	text, _ := json.Marshal(value) // strings and numbers can be encoded
	return encode(text)
}

func hmacOf(secret, text string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
