// Package passkeytest is an authenticator with one passkey in software, for tests. It shares no
// code with what checks passkeys.
package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"
)

// The flags of an answer (WebAuthn Level 3, section 6.1).
const (
	Present  = 0x01
	Verified = 0x04 // such as by a fingerprint or a PIN
	Synced   = 0x08 // the passkey can be copied to other devices
	attested = 0x40 // a public key follows
)

// Authenticator has one passkey. Its fields can be changed between two answers, to make wrong ones.
type Authenticator struct {
	// Origin and Site are what an answer says about the page: https://example.com and example.com.
	Origin, Site string
	// Framed says that the page is in a frame of another site.
	Framed bool
	// Flags are Present and Verified at first.
	Flags byte
	// Count is the count of signatures of the next answer. It grows with each answer, except
	// from 0.
	Count uint32
	// ID is the credential ID.
	ID []byte
	// Handle is the user's handle. Create sets it.
	Handle []byte
	// Challenge replaces the challenge of the options, if it is not empty.
	Challenge string
	// Ceremony replaces the kind of the answer, if it is not empty.
	Ceremony string
	// Key signs the answers.
	Key *ecdsa.PrivateKey
	// PublicKey replaces the COSE_Key of Key, if it is not empty.
	PublicKey []byte

	t testing.TB
}

// New returns an authenticator with a new key.
func New(t testing.TB, origin, site string) *Authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return &Authenticator{Origin: origin, Site: site, Flags: Present | Verified, Count: 1, ID: id, Key: key, t: t}
}

// Create answers the options of navigator.credentials.create with the public key. Both are JSON.
func (a *Authenticator) Create(options []byte) string {
	a.t.Helper()
	var asked struct {
		PublicKey struct {
			User struct{ ID string }
		}
	}
	if err := json.Unmarshal(options, &asked); err != nil {
		a.t.Fatal(err)
	}
	var err error
	if a.Handle, err = base64.RawURLEncoding.DecodeString(asked.PublicKey.User.ID); err != nil {
		a.t.Fatal(err)
	}
	point, err := a.Key.PublicKey.Bytes() // 4, X and Y
	if err != nil {
		a.t.Fatal(err)
	}
	key := slices.Concat([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, point[1:33], []byte{0x22, 0x58, 32}, point[33:])
	if len(a.PublicKey) > 0 {
		key = a.PublicKey
	}
	data := a.data(attested)
	data = append(data, make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.ID)))
	data = slices.Concat(data, a.ID, key)
	object := slices.Concat([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59"), binary.BigEndian.AppendUint16(nil, uint16(len(data))), data)
	return a.answer(map[string][]byte{"clientDataJSON": a.client(options, "webauthn.create"), "attestationObject": object})
}

// Get answers the options of navigator.credentials.get with a signature. Both are JSON.
func (a *Authenticator) Get(options []byte) string {
	a.t.Helper()
	client, data := a.client(options, "webauthn.get"), a.data(0)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(slices.Concat(data, hash[:]))
	signature, err := ecdsa.SignASN1(rand.Reader, a.Key, digest[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.answer(map[string][]byte{"clientDataJSON": client, "authenticatorData": data, "signature": signature, "userHandle": a.Handle})
}

// client returns what a browser says about the page and the challenge.
func (a *Authenticator) client(options []byte, ceremony string) []byte {
	a.t.Helper()
	var asked struct{ PublicKey struct{ Challenge string } }
	if err := json.Unmarshal(options, &asked); err != nil || asked.PublicKey.Challenge == "" {
		a.t.Fatalf("no challenge in %s: %v", options, err)
	}
	challenge := asked.PublicKey.Challenge
	if a.Challenge != "" {
		challenge = a.Challenge
	}
	if a.Ceremony != "" {
		ceremony = a.Ceremony
	}
	return a.json(map[string]any{"type": ceremony, "challenge": challenge, "origin": a.Origin, "crossOrigin": a.Framed})
}

// data returns the authenticator data, without a public key.
func (a *Authenticator) data(flags byte) []byte {
	site := sha256.Sum256([]byte(a.Site))
	data := binary.BigEndian.AppendUint32(append(site[:], a.Flags|flags), a.Count)
	if a.Count > 0 {
		a.Count++
	}
	return data
}

func (a *Authenticator) answer(response map[string][]byte) string {
	a.t.Helper()
	texts := make(map[string]string)
	for name, value := range response {
		texts[name] = base64.RawURLEncoding.EncodeToString(value)
	}
	id := base64.RawURLEncoding.EncodeToString(a.ID)
	return string(a.json(map[string]any{"id": id, "rawId": id, "type": "public-key", "response": texts}))
}

func (a *Authenticator) json(v any) []byte {
	a.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}
