package policy_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

const digits62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// random is a source of bytes that a failing test can repeat.
func random(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func newSecret(t testing.TB, prefix string, seed byte) string {
	t.Helper()
	s, err := policy.GenerateSecret(prefix, random(seed))
	if err != nil {
		t.Fatal(err)
	}
	return s.Reveal()
}

func check(text string) error { return policy.CheckSecret(policy.NewSecret(text)) }

// sealed appends body's checksum, by code that differs from the code under test.
func sealed(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	tail := ""
	for range 6 {
		tail = string(digits62[sum%62]) + tail
		sum /= 62
	}
	return body + tail
}

func TestSecret_hasPrefixRandomTextAndChecksum(t *testing.T) {
	t.Parallel()
	forms := map[string]*regexp.Regexp{
		policy.KeyPrefix:             regexp.MustCompile(`^sgk_[0-9A-Za-z]{38}$`),
		policy.ServicePasswordPrefix: regexp.MustCompile(`^sgs_[0-9A-Za-z]{38}$`),
		policy.SetupPrefix:           regexp.MustCompile(`^sgi_[0-9A-Za-z]{38}$`),
	}
	for prefix, form := range forms {
		t.Run("a secret with "+prefix, func(t *testing.T) {
			t.Parallel()
			seen := map[string]bool{}
			for seed := range 200 {
				text := newSecret(t, prefix, byte(seed))
				if !form.MatchString(text) {
					t.Fatalf("%q does not match %v", text, form)
				}
				if want := sealed(text[:36]); text != want {
					t.Fatalf("%q has another checksum than %q", text, want)
				}
				if err := check(text); err != nil {
					t.Fatalf("%q is refused: %v", text, err)
				}
				seen[text] = true
			}
			if len(seen) != 200 {
				t.Errorf("%d different secrets of 200", len(seen))
			}
		})
	}
	t.Run("the checksum keeps its leading zeros", func(t *testing.T) {
		t.Parallel()
		// About one checksum in five begins with 0, so 200 secrets include some.
		zeros := 0
		for seed := range 200 {
			if text := newSecret(t, policy.KeyPrefix, byte(seed)); text[36] == '0' {
				zeros++
			}
		}
		if zeros == 0 {
			t.Error("no checksum begins with 0")
		}
	})
	t.Run("a secret whose checksum zlib worked out is accepted", func(t *testing.T) {
		t.Parallel()
		if err := check("sgk_000000000000000000000000000000003DUITA"); err != nil { // CRC-32 0xafb282d8
			t.Error(err)
		}
	})
}

func TestSecret_everyMistypedOneIsRefused(t *testing.T) {
	t.Parallel()
	for seed := range 3 {
		text := newSecret(t, policy.KeyPrefix, byte(seed))
		t.Run(fmt.Sprintf("every other character at every place (%d)", seed), func(t *testing.T) {
			t.Parallel()
			for i := len(policy.KeyPrefix); i < len(text); i++ {
				for c := range 256 {
					if byte(c) == text[i] {
						continue
					}
					mistyped := text[:i] + string([]byte{byte(c)}) + text[i+1:]
					want := policy.ErrSecretChecksum
					if c <= ' ' || c > '~' {
						want = policy.ErrSecretChars
					}
					if err := check(mistyped); !errors.Is(err, want) {
						t.Fatalf("%q: %v, want %v", mistyped, err, want)
					}
				}
			}
		})
		t.Run(fmt.Sprintf("every two characters that changed places (%d)", seed), func(t *testing.T) {
			t.Parallel()
			for i := len(policy.KeyPrefix); i < len(text); i++ {
				for j := i + 1; j < len(text); j++ {
					b := []byte(text)
					b[i], b[j] = b[j], b[i]
					if string(b) == text {
						continue
					}
					if err := check(string(b)); !errors.Is(err, policy.ErrSecretChecksum) {
						t.Fatalf("%q: %v", b, err)
					}
				}
			}
		})
		t.Run(fmt.Sprintf("every one cut off at its end (%d)", seed), func(t *testing.T) {
			t.Parallel()
			for n := len(policy.KeyPrefix); n < len(text); n++ {
				if err := check(text[:n]); !errors.Is(err, policy.ErrSecretChecksum) {
					t.Fatalf("%q: %v", text[:n], err)
				}
			}
		})
		t.Run(fmt.Sprintf("every one with a character more or less (%d)", seed), func(t *testing.T) {
			t.Parallel()
			for i := len(policy.KeyPrefix); i <= len(text); i++ {
				if i < len(text) {
					if err := check(text[:i] + text[i+1:]); !errors.Is(err, policy.ErrSecretChecksum) {
						t.Fatalf("without character %d: %v", i, err)
					}
				}
				if err := check(text[:i] + "x" + text[i:]); !errors.Is(err, policy.ErrSecretChecksum) {
					t.Fatalf("with one before character %d: %v", i, err)
				}
			}
		})
	}
	t.Run("a right checksum on a body of another length", func(t *testing.T) {
		t.Parallel()
		for _, n := range []int{0, 31, 33, 100} {
			text := sealed("sgk_" + strings.Repeat("a", n))
			if err := check(text); !errors.Is(err, policy.ErrSecretChecksum) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
	t.Run("a key whose prefix became that of a password, and the reverse", func(t *testing.T) {
		t.Parallel()
		key, password := newSecret(t, "sgk_", 1), newSecret(t, "sgs_", 1)
		for _, text := range []string{"sgs_" + key[4:], "sgk_" + password[4:]} {
			if err := check(text); !errors.Is(err, policy.ErrSecretChecksum) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func TestSecret_importedOnesHaveAnyForm(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		want       error
	}{
		{"a vendor's key", "EXAMPLE-only/not+a=key~!", nil},
		{"one that looks like ours in another case", "SGK_abc", nil},
		{"one with our prefix inside", "x-sgk_abc", nil},
		{"one that is the beginning of our prefix", "sgk", nil},
		{"our prefix alone", "sgk_", policy.ErrSecretChecksum},
		{"a password's prefix alone", "sgs_", policy.ErrSecretChecksum},
		{"the longest", strings.Repeat("x", 1024), nil},
		{"one byte too long", strings.Repeat("x", 1025), policy.ErrSecretLength},
		{"one of a mebibyte", strings.Repeat("x", 1<<20), policy.ErrSecretLength},
		{"a space inside", "a b", policy.ErrSecretChars},
		{"a space at the end", "ab ", policy.ErrSecretChars},
		{"a line's end", "ab\r\n", policy.ErrSecretChars},
		{"a NUL", "a\x00b", policy.ErrSecretChars},
		{"a DEL", "a\x7fb", policy.ErrSecretChars},
		{"a letter beyond ASCII", "aéb", policy.ErrSecretChars},
		{"what is no UTF-8", "a\xffb", policy.ErrSecretChars},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := check(tt.text); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	t.Run("every byte is either visible ASCII or refused", func(t *testing.T) {
		t.Parallel()
		for c := range 256 {
			visible := '!' <= c && c <= '~'
			if err := check("a" + string([]byte{byte(c)})); (err == nil) != visible {
				t.Errorf("byte %#x: %v", c, err)
			}
		}
	})
}

func FuzzCheckSecret(f *testing.F) {
	f.Add("")
	f.Add("sgk_")
	f.Add(newSecret(f, policy.KeyPrefix, 1))
	f.Add(newSecret(f, policy.ServicePasswordPrefix, 1))
	f.Add(newSecret(f, policy.SetupPrefix, 1))
	f.Add("sgi_")
	f.Add(newSecret(f, policy.KeyPrefix, 1) + "x")
	f.Add("an imported key")
	f.Add(strings.Repeat("x", 1025))
	f.Fuzz(func(t *testing.T, text string) {
		err := check(text)
		visible := !strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' })
		ours := strings.HasPrefix(text, "sgk_") || strings.HasPrefix(text, "sgs_") || strings.HasPrefix(text, "sgi_")
		ok := visible && len(text) <= 1024 && (!ours || len(text) == 42 && text == sealed(text[:36]))
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && len(text) > 5 && strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes %q: %v", text, err)
		}
	})
}
