package policy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"text/template"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func TestR18_ErrorsDoNotQuoteTheSecret(t *testing.T) {
	t.Parallel()
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

// leaked returns a part of the secret that is in out: any six characters in a row, as
// plain text or in a usual encoding.
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

// shapes are the structures in which a value can be printed.
func shapes[S any](s S) map[string]any {
	h := holding(s)
	return map[string]any{
		"itself": s, "a pointer": &s, "a slice": []S{s}, "an array": [1]S{s}, "a map": map[string]S{"k": s},
		"an interface": []any{s}, "a struct": h, "a pointer to a struct": &h, "a pointer to a pointer": new(*S),
		"an unexported field": struct{ s S }{s}, "an embedded pointer": struct{ p *S }{&s}, "nested": struct{ h holder[S] }{h},
	}
}

// outputs prints s in all ways of the standard library and of zap.
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
	t.Parallel()
	text := newSecret(t, policy.KeyPrefix, 9)
	for name, out := range outputs(t, policy.NewSecret(text)) {
		if leak := leaked(out, text); leak != "" {
			t.Errorf("%s: %q in %q", name, leak, out)
		}
	}
	// A plain string must leak almost everywhere. Otherwise the test above would find
	// nothing.
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
	t.Parallel()
	for name, s := range map[string]policy.Secret{"a secret": policy.NewSecret("hunter2hunter2"), "an empty one": policy.NewSecret(""), "the zero value": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
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
	t.Parallel()
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
			t.Parallel()
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

// failing returns n bytes and then an error.
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
	t.Parallel()
	for _, n := range []int{0, 1, 31} {
		for _, cause := range []error{errReader, io.EOF} {
			t.Run(fmt.Sprintf("%v after %d bytes", cause, n), func(t *testing.T) {
				t.Parallel()
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
		t.Parallel()
		// 0xff is discarded, so the first read yields nothing and the second read fails.
		_, err := policy.RandomText(32, io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 40)), &failing{0, errReader}))
		if !errors.Is(err, errReader) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a reader that gives one byte at a time is good enough", func(t *testing.T) {
		t.Parallel()
		s, err := policy.GenerateSecret(policy.KeyPrefix, iotestOneByte{random(3)})
		if err != nil || s.Reveal() != newSecret(t, policy.KeyPrefix, 3) {
			t.Errorf("error %v, or another secret", err)
		}
	})
}

type iotestOneByte struct{ io.Reader }

func (r iotestOneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func TestSecret_charactersAreEquallyLikely(t *testing.T) {
	t.Parallel()
	t.Run("every byte below 248 is one of 62, each four times, and the others none", func(t *testing.T) {
		t.Parallel()
		var counts [256]int
		for b := range 256 {
			// The byte comes first. If it is discarded, zeros follow.
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
		t.Parallel()
		const n = 62 * 2000
		text, err := policy.RandomText(n, random(5))
		if err != nil || len(text) != n {
			t.Fatalf("%d characters, %v", len(text), err)
		}
		for i := range len(digits62) {
			// 2000 are expected, with a standard deviation of 45. If no bytes were discarded,
			// the first eight characters would come 2400 times or more.
			if c := strings.Count(text, digits62[i:i+1]); c < 1750 || c > 2250 {
				t.Errorf("%q comes %d times, want about 2000", digits62[i], c)
			}
		}
	})
	t.Run("any length is exact", func(t *testing.T) {
		t.Parallel()
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
	t.Parallel()
	for _, prefix := range []string{policy.KeyPrefix, policy.ServicePasswordPrefix} {
		secret, err := policy.GenerateSecret(prefix, rand.NewChaCha8([32]byte{1}))
		if err != nil {
			t.Fatal(err)
		}
		text := secret.Reveal()
		for around, want := range map[string]bool{
			text: true, "leaked: " + text + ".": true, "a" + text: true, text + text: true, "sgk_" + text: true, "音" + text + "音": true,
			text[1:]: false, text[:len(text)-1]: false, text[:9]: false, "": false, strings.ReplaceAll(text, "_", "-"): false,
			sealed("sgx_" + text[4:36]): false,
		} {
			if got := policy.HoldsSecret(around); got != want {
				t.Errorf("%d bytes around a secret of %s: %v, want %v", len(around), prefix, got, want)
			}
		}
	}
}
