package signin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// challengeTime is how long a user may take to answer a challenge with a passkey.
const challengeTime = 5 * time.Minute

// The sizes of the parts of a challenge, in bytes. The rest of it is a text.
const (
	codeLen  = sha256.Size
	begunLen = 8
	nonceLen = 16
)

// purpose says what a challenge is for, and who may answer it. A challenge begins with a code of the
// keystore over its purpose and its other parts: so no server remembers the challenges that are open,
// and each server with the keystore can check an answer.
type purpose struct {
	ceremony string // signInPasskey or addPasskey
	site     Site
	user     *keystore.ConsoleUser // nil for a sign-in, because the answer says who the user is
	session  policy.Secret         // of the user
}

// The ceremonies.
const (
	signInPasskey = "sign in"
	addPasskey    = "add"
)

// challenge makes a challenge that holds a text. The text is not secret.
func (p *purpose) challenge(ctx context.Context, t Try, text string) ([]byte, error) {
	body := binary.BigEndian.AppendUint64(nil, uint64(t.Now))
	body = append(body, make([]byte, nonceLen)...)
	_, _ = rand.Read(body[begunLen:]) // never fails
	body = append(body, text...)
	code, err := p.code(ctx, t, body)
	return append(code, body...), err
}

// open checks a challenge, as an answer has it: in base64url. It returns when the challenge was made,
// and the text. The error is ErrPasskey if no server has made the challenge for this purpose in the last
// challengeTime, or an error of the keystore.
func (p *purpose) open(ctx context.Context, t Try, answered string) (begun policy.Time, text string, err error) {
	all, err := base64.RawURLEncoding.DecodeString(answered)
	if err != nil || len(all) < codeLen+begunLen+nonceLen {
		return 0, "", ErrPasskey
	}
	code, body := all[:codeLen], all[codeLen:]
	want, err := p.code(ctx, t, body)
	if err != nil {
		return 0, "", err
	}
	begun = policy.Time(binary.BigEndian.Uint64(body))
	// The clock of the server that has made the challenge can be ahead.
	if !hmac.Equal(code, want) || t.Now >= begun.Add(challengeTime) || begun >= t.Now.Add(challengeTime) {
		return 0, "", ErrPasskey
	}
	return begun, string(body[begunLen+nonceLen:]), nil
}

// code returns the code of a challenge with this body.
func (p *purpose) code(ctx context.Context, t Try, body []byte) ([]byte, error) {
	parts := []string{"passkey", p.ceremony, p.site.origin, p.site.host}
	if p.user != nil {
		session := sha256.Sum256([]byte(p.session.Reveal()))
		parts = append(parts, p.user.Kind, p.user.ID, string(session[:]))
	}
	var all []byte
	for _, part := range append(parts, string(body)) {
		all = binary.BigEndian.AppendUint64(all, uint64(len(part)))
		all = append(all, part...)
	}
	return t.Store.ConsoleCode(ctx, all)
}
