package sandbox

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// The vendor's limits for the life of a temporary key, in seconds.
const (
	minTemporaryKey = 60
	maxTemporaryKey = 86400
)

// speechmaticsCaller is who has sent a request.
type speechmaticsCaller struct {
	keyType   string // of a temporary key: rt or batch; otherwise ""
	clientRef string // of a temporary key; "" if it has none
}

// owns reports whether the caller may see a job. A temporary key with a client reference sees only
// jobs with this reference.
func (c speechmaticsCaller) owns(j *job) bool { return c.clientRef == "" || c.clientRef == j.clientRef }

// caller returns who has sent a request. If several different keys are in the request, ok is false.
func (s *Speechmatics) caller(r *http.Request) (who speechmaticsCaller, ok bool) {
	header, query := bearer(r), credentials{}
	if isHandshake(r) {
		for _, jwt := range r.URL.Query()["jwt"] {
			query.add(jwt)
		}
	}
	both := header
	both.add(query.key)
	switch {
	case s.key == "":
		return who, true
	case both.mixed || query.mixed:
		return who, false
	case query.key == "" && header.open(s.key):
		return who, true
	}
	return s.temporary(both.key)
}

// temporaryClaims are the contents of a temporary key, which is a JSON Web Token (RFC 7519).
type temporaryClaims struct {
	ID        string `json:"jti"`
	Type      string `json:"type"`
	ClientRef string `json:"client_ref,omitempty"`
	Expires   int64  `json:"exp"` // seconds since 1970
}

// temporaryHeader is the first part of a temporary key: {"alg":"HS256","typ":"JWT"}.
const temporaryHeader = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"

// mint answers with a temporary key.
func (s *Speechmatics) mint(w http.ResponseWriter, r *http.Request) *speechmaticsFailure {
	var asked struct {
		TTL       *int64 `json:"ttl"`
		ClientRef string `json:"client_ref"`
	}
	invalid := func(message string) *speechmaticsFailure {
		return &speechmaticsFailure{Code: http.StatusUnprocessableEntity, Error: "Unprocessable Entity", Message: message}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxField))
	if err != nil || json.Unmarshal(body, &asked) != nil {
		return invalid("the body is not a JSON object with a ttl")
	}
	claims := temporaryClaims{ID: rand.Text(), Type: cmp.Or(r.URL.Query().Get("type"), "batch"), ClientRef: asked.ClientRef}
	switch {
	case claims.Type != "rt" && claims.Type != "batch":
		return invalid("type in query should be one of [batch rt]")
	case asked.TTL == nil || *asked.TTL < minTemporaryKey || *asked.TTL > maxTemporaryKey:
		return invalid("ttl in body should be from 60 to 86400")
	}
	claims.Expires = s.now().Add(time.Duration(*asked.TTL) * time.Second).Unix()
	text, err := encode(claims)
	if err != nil {
		return invalid(err.Error())
	}
	content := temporaryHeader + "." + base64.RawURLEncoding.EncodeToString(text)
	write(w, http.StatusCreated, struct {
		ID    *string `json:"apikey_id"`
		Value string  `json:"key_value"`
	}{nil, content + "." + s.sign(content)})
	return nil
}

// temporary reads a temporary key. If it is not from this sandbox or has expired, ok is false.
func (s *Speechmatics) temporary(key string) (who speechmaticsCaller, ok bool) {
	at := strings.LastIndexByte(key, '.')
	if at < 0 || !hmac.Equal([]byte(key[at+1:]), []byte(s.sign(key[:at]))) {
		return who, false
	}
	_, content, _ := strings.Cut(key[:at], ".")
	var claims temporaryClaims
	text, err := base64.RawURLEncoding.DecodeString(content)
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return who, false
	}
	return speechmaticsCaller{claims.Type, claims.ClientRef}, s.now().Unix() < claims.Expires
}

func (s *Speechmatics) sign(text string) string {
	mac := hmac.New(sha256.New, s.seal)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
