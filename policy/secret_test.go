package policy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"text/template"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"pgregory.net/rapid"

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

// sealed puts body's checksum after it, as design.md describes it, not as the
// code computes it.
func sealed(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	tail := ""
	for range 6 {
		tail = string(digits62[sum%62]) + tail
		sum /= 62
	}
	return body + tail
}

func TestSecret_hasTheDesignsForm(t *testing.T) {
	forms := map[string]*regexp.Regexp{
		policy.KeyPrefix:             regexp.MustCompile(`^sgk_[0-9A-Za-z]{38}$`),
		policy.ServicePasswordPrefix: regexp.MustCompile(`^sgs_[0-9A-Za-z]{38}$`),
	}
	for prefix, form := range forms {
		t.Run("a secret with "+prefix, func(t *testing.T) {
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
		// About one in five begins with 0, so 200 secrets have some.
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
		if err := check("sgk_000000000000000000000000000000003DUITA"); err != nil { // CRC-32 0xafb282d8
			t.Error(err)
		}
	})
}

func TestSecret_everyMistypedOneIsRefused(t *testing.T) {
	for seed := range 3 {
		text := newSecret(t, policy.KeyPrefix, byte(seed))
		t.Run(fmt.Sprintf("every other character at every place (%d)", seed), func(t *testing.T) {
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
			for n := len(policy.KeyPrefix); n < len(text); n++ {
				if err := check(text[:n]); !errors.Is(err, policy.ErrSecretChecksum) {
					t.Fatalf("%q: %v", text[:n], err)
				}
			}
		})
		t.Run(fmt.Sprintf("every one with a character more or less (%d)", seed), func(t *testing.T) {
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
		for _, n := range []int{0, 31, 33, 100} {
			text := sealed("sgk_" + strings.Repeat("a", n))
			if err := check(text); !errors.Is(err, policy.ErrSecretChecksum) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
	t.Run("a key whose prefix became that of a password, and the reverse", func(t *testing.T) {
		key, password := newSecret(t, "sgk_", 1), newSecret(t, "sgs_", 1)
		for _, text := range []string{"sgs_" + key[4:], "sgk_" + password[4:]} {
			if err := check(text); !errors.Is(err, policy.ErrSecretChecksum) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func TestSecret_importedOnesHaveAnyForm(t *testing.T) {
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
			if err := check(tt.text); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	t.Run("every byte is either visible ASCII or refused", func(t *testing.T) {
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
	f.Add(newSecret(f, policy.KeyPrefix, 1) + "x")
	f.Add("an imported key")
	f.Add(strings.Repeat("x", 1025))
	f.Fuzz(func(t *testing.T, text string) {
		err := check(text)
		visible := !strings.ContainsFunc(text, func(r rune) bool { return r < '!' || r > '~' })
		ours := strings.HasPrefix(text, "sgk_") || strings.HasPrefix(text, "sgs_")
		ok := visible && len(text) <= 1024 && (!ours || len(text) == 42 && text == sealed(text[:36]))
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && len(text) > 5 && strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes %q: %v", text, err)
		}
	})
}

func TestR18_ErrorsDoNotQuoteTheSecret(t *testing.T) {
	good := newSecret(t, policy.KeyPrefix, 7)
	for _, text := range []string{good[:41], good + " ", good + "\x00", strings.Repeat(good, 30), "sgk_" + good} {
		err := check(text)
		if err == nil {
			t.Fatalf("%q is accepted", text)
		}
		if leak := leaked(err.Error(), good); leak != "" {
			t.Errorf("error %q quotes %q", err, leak)
		}
	}
}

// leaked returns what of the secret out gives away: any six characters of it in
// a row, bare or in one of the usual disguises.
func leaked(out, secret string) string {
	const run = 6
	for i := 0; i+run <= len(secret); i++ {
		piece := secret[i : i+run]
		decimal := strings.Trim(fmt.Sprintf("%d", []byte(piece)), "[]")
		for _, disguise := range []string{piece, hex.EncodeToString([]byte(piece)), decimal, strings.ReplaceAll(decimal, " ", ", "), strings.ReplaceAll(decimal, " ", ",")} {
			if strings.Contains(strings.ToLower(out), strings.ToLower(disguise)) {
				return disguise
			}
		}
	}
	for _, b64 := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if strings.Contains(out, b64.EncodeToString([]byte(secret))[:8]) {
			return "base64"
		}
	}
	return ""
}

type holder[S any] struct {
	Exported S
	hidden   S
	deeper   struct{ pointer *S }
	list     []S
	byName   map[string]S
	any      any
}

func holding[S any](s S) holder[S] {
	h := holder[S]{Exported: s, hidden: s, list: []S{s}, byName: map[string]S{"k": s}, any: s}
	h.deeper.pointer = &s
	return h
}

// shapes are the ways in which a value can come to be printed.
func shapes[S any](s S) map[string]any {
	h := holding(s)
	return map[string]any{
		"itself": s, "a pointer": &s, "a slice": []S{s}, "an array": [1]S{s}, "a map": map[string]S{"k": s},
		"an interface": []any{s}, "a struct": h, "a pointer to a struct": &h, "a pointer to a pointer": new(*S),
		"an unexported field": struct{ s S }{s}, "an embedded pointer": struct{ p *S }{&s}, "nested": struct{ h holder[S] }{h},
	}
}

// outputs prints s in every way that the standard library and zap know.
func outputs[S any](t *testing.T, s S) map[string]string {
	t.Helper()
	out := map[string]string{}
	for shape, v := range shapes(s) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%c", "%U", "%e", "%p", "%T", "%20s", "%.3s", "%+q", "%#q", "%#x", "%w", "%!"} {
			out[shape+" by "+verb] = fmt.Sprintf(verb, v)
		}
		out[shape+" by Sprint"] = fmt.Sprint(v)
		out[shape+" by Sprintln"] = fmt.Sprintln(v)
		out[shape+" in an error"] = fmt.Errorf("no such key %v", v).Error()
		if b, err := json.Marshal(v); err == nil {
			out[shape+" in JSON"] = string(b)
		} else {
			out[shape+" in JSON"] = err.Error()
		}
		b, err := xml.Marshal(v)
		out[shape+" in XML"] = fmt.Sprint(string(b), err)

		var buf bytes.Buffer
		slog.New(slog.NewTextHandler(&buf, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("m", "v", v)
		if err := template.Must(template.New("").Parse("{{.}} {{printf `%s %q` . .}}")).Execute(&buf, v); err != nil {
			buf.WriteString(err.Error())
		}
		out[shape+" by slog and in a template"] = buf.String()

		for name, enc := range map[string]zapcore.Encoder{
			"JSON":    zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
			"console": zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
		} {
			var buf bytes.Buffer
			log := zap.New(zapcore.NewCore(enc, zapcore.AddSync(&buf), zapcore.DebugLevel))
			log.Debug("any", zap.Any("v", v))
			log.Debug("reflect", zap.Reflect("v", v))
			log.Debug("error", zap.Error(fmt.Errorf("no such key %v", v)))
			log.Sugar().Debugw("sugar", "v", v)
			log.Sugar().Debugf("sugar %v %+v %#v", v, v, v)
			out[shape+" by zap to "+name] = buf.String()
		}
	}
	return out
}

func TestR18_ASecretIsPrintedNowhere(t *testing.T) {
	text := newSecret(t, policy.KeyPrefix, 9)
	for name, out := range outputs(t, policy.NewSecret(text)) {
		if leak := leaked(out, text); leak != "" {
			t.Errorf("%s: %q in %q", name, leak, out)
		}
	}
	// The same with a bare string must leak nearly everywhere, or the test
	// above looks for nothing.
	caught, all := 0, outputs(t, text)
	for _, out := range all {
		if leaked(out, text) != "" {
			caught++
		}
	}
	if caught < len(all)/2 {
		t.Errorf("a bare string was seen in %d of %d outputs only", caught, len(all))
	}
}

func TestR18_ASecretShowsAsRedacted(t *testing.T) {
	for name, s := range map[string]policy.Secret{"a secret": policy.NewSecret("hunter2hunter2"), "an empty one": policy.NewSecret(""), "the zero value": {}} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				if got := fmt.Sprintf(verb, s); got != "REDACTED" {
					t.Errorf("%s gives %q", verb, got)
				}
				if got := fmt.Sprintf(verb, struct{ S policy.Secret }{s}); !strings.Contains(got, "REDACTED") {
					t.Errorf("%s in a struct gives %q", verb, got)
				}
			}
			if got := s.String(); got != "REDACTED" {
				t.Errorf("String gives %q", got)
			}
			got, err := json.Marshal(map[string]any{"value": s, "pointer": &s, "list": []policy.Secret{s}, "key": map[policy.Secret]int{s: 1}})
			if want := `{"key":{"REDACTED":1},"list":["REDACTED"],"pointer":"REDACTED","value":"REDACTED"}`; err != nil || string(got) != want {
				t.Errorf("JSON gives %s, %v", got, err)
			}
		})
	}
}

func TestSecret_revealsItsText(t *testing.T) {
	tests := []struct {
		name   string
		secret policy.Secret
		text   string
		empty  bool
	}{
		{"a secret", policy.NewSecret("hunter2"), "hunter2", false},
		{"a blank is not empty", policy.NewSecret(" "), " ", false},
		{"an empty secret is empty", policy.NewSecret(""), "", true},
		{"the zero value is empty", policy.Secret{}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.secret.Reveal(); got != tt.text {
				t.Errorf("Reveal = %q", got)
			}
			if got := tt.secret.Empty(); got != tt.empty {
				t.Errorf("Empty = %v", got)
			}
		})
	}
}

var errReader = errors.New("no entropy")

// failing gives n bytes and then an error.
type failing struct {
	n   int
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.n == 0 {
		return 0, f.err
	}
	n := min(f.n, len(p))
	f.n -= n
	return n, nil
}

func TestR8_SecretsFailWhenRandomnessDoes(t *testing.T) {
	for _, n := range []int{0, 1, 31} {
		for _, cause := range []error{errReader, io.EOF} {
			t.Run(fmt.Sprintf("%v after %d bytes", cause, n), func(t *testing.T) {
				s, err := policy.GenerateSecret(policy.ServicePasswordPrefix, &failing{n, cause})
				if err == nil || !s.Empty() {
					t.Fatalf("got a secret of %d characters, error %v", len(s.Reveal()), err)
				}
				want := cause
				if errors.Is(cause, io.EOF) && n > 0 {
					want = io.ErrUnexpectedEOF
				}
				if !errors.Is(err, want) {
					t.Errorf("error %v does not wrap %v", err, want)
				}
				if text, err := policy.RandomText(32, &failing{n, cause}); err == nil || text != "" {
					t.Errorf("RandomText = %q, %v", text, err)
				}
			})
		}
	}
	t.Run("an error after bytes that had to be thrown away", func(t *testing.T) {
		// 0xff is beyond the last whole run of 62, so the first reading yields
		// nothing and the second fails.
		_, err := policy.RandomText(32, io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 40)), &failing{0, errReader}))
		if !errors.Is(err, errReader) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a reader that gives one byte at a time is good enough", func(t *testing.T) {
		s, err := policy.GenerateSecret(policy.KeyPrefix, iotestOneByte{random(3)})
		if err != nil || s.Reveal() != newSecret(t, policy.KeyPrefix, 3) {
			t.Errorf("error %v, or another secret", err)
		}
	})
}

type iotestOneByte struct{ io.Reader }

func (r iotestOneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func TestSecret_charactersAreEquallyLikely(t *testing.T) {
	t.Run("every byte below 248 is one of 62, each four times, and the others none", func(t *testing.T) {
		var counts [256]int
		for b := range 256 {
			// The byte comes first; should it be thrown away, zeros follow.
			src := io.MultiReader(bytes.NewReader([]byte{byte(b)}), bytes.NewReader(make([]byte, 16)))
			text, err := policy.RandomText(1, src)
			if err != nil {
				t.Fatal(err)
			}
			if b < 248 {
				counts[text[0]]++
			} else if text != "0" {
				t.Errorf("byte %d gave %q", b, text)
			}
		}
		for i := range len(digits62) {
			if n := counts[digits62[i]]; n != 4 {
				t.Errorf("%q comes from %d bytes, want 4", digits62[i], n)
			}
		}
	})
	t.Run("in a long text they come about equally often", func(t *testing.T) {
		const n = 62 * 2000
		text, err := policy.RandomText(n, random(5))
		if err != nil || len(text) != n {
			t.Fatalf("%d characters, %v", len(text), err)
		}
		for i := range len(digits62) {
			// 2000 expected, standard deviation 45; without the throwing away,
			// the first eight would come 2400 times or more.
			if c := strings.Count(text, digits62[i:i+1]); c < 1750 || c > 2250 {
				t.Errorf("%q comes %d times, want about 2000", digits62[i], c)
			}
		}
	})
	t.Run("any length is exact", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(0, 300).Draw(t, "n")
			text, err := policy.RandomText(n, random(byte(n)))
			if err != nil || len(text) != n || strings.Trim(text, digits62) != "" {
				t.Fatalf("%q, %v", text, err)
			}
		})
	})
}

func TestR18_SecretsAreFoundInText(t *testing.T) {
	for _, prefix := range []string{policy.KeyPrefix, policy.ServicePasswordPrefix} {
		secret, err := policy.GenerateSecret(prefix, rand.NewChaCha8([32]byte{1}))
		if err != nil {
			t.Fatal(err)
		}
		text := secret.Reveal()
		for around, want := range map[string]bool{
			text: true, "leaked: " + text + ".": true, "a" + text: true, text + text: true, "sgk_" + text: true, "音" + text + "音": true,
			text[1:]: false, text[:len(text)-1]: false, text[:9]: false, "": false, strings.ReplaceAll(text, "_", "-"): false,
		} {
			if got := policy.HoldsSecret(around); got != want {
				t.Errorf("%d bytes around a secret of %s: %v, want %v", len(around), prefix, got, want)
			}
		}
	}
}
