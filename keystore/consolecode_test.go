package keystore

import (
	"bytes"
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// The stores of one keystore have the same code for a message, also if all of them ask at once for the first time.
func TestConsoleCode_IsThatOfAKeystore(t *testing.T) {
	t.Parallel()
	peppered := func(c *Config) { c.Pepper = policy.NewSecret("0123456789abcdef0123456789abcdef") }
	codeOf := func(f fixture, message string) []byte {
		code, err := f.ConsoleCode(t.Context(), []byte(message))
		if err != nil || len(code) != sha256.Size {
			t.Errorf("the code of %q is %x, %v", message, code, err)
		}
		return code
	}
	path := newPath(t)
	stores := []fixture{openStore(t, path, peppered), openStore(t, path, peppered)}
	var codes [8][]byte
	var all sync.WaitGroup
	for i := range codes {
		all.Go(func() { codes[i] = codeOf(stores[i%2], "message") })
	}
	all.Wait()
	for _, code := range codes {
		if !bytes.Equal(code, codes[0]) {
			t.Errorf("the codes of one message are %x and %x", codes[0], code)
		}
	}
	for what, code := range map[string][]byte{
		"another message":                  codeOf(stores[0], "another message"),
		"another keystore":                 codeOf(openStore(t, newPath(t)), "message"),
		"another keystore with the pepper": codeOf(openStore(t, newPath(t), peppered), "message"),
	} {
		if bytes.Equal(code, codes[0]) {
			t.Errorf("%s has the same code", what)
		}
	}
}
