package credential

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// ourKey has the form of a key that this project makes.
var ourKey = func() string {
	secret, err := policy.GenerateSecret(policy.KeyPrefix, strings.NewReader(strings.Repeat("\x07\x21\x30\x41\x99", 100)))
	if err != nil {
		panic(err)
	}
	return secret.Reveal()
}()

// speedCase is a kind of request, and the most allocations that finding its key (Scan to
// Key) and Rewrite may take.
type speedCase struct {
	name          string
	request       func() *http.Request
	find, rewrite float64
}

func speedCases() []speedCase {
	audio := strings.Repeat("\x01", 4096)
	body := func(head string) func() *http.Request {
		text := head + part("c", "16K") + `--B0` + "\r\n" + `Content-Disposition: form-data; name="a"` + "\r\n\r\n" + audio + "\r\n--B0--\r\n"
		return func() *http.Request { return upload("", formType, text) }
	}
	return []speedCase{
		{"bearer", func() *http.Request {
			r := poll("")
			r.Header.Set("Authorization", "Bearer "+ourKey)
			return r
		}, 4, 2},
		{"query", func() *http.Request {
			return upload("d=-a-general&c=16K&u="+ourKey, "application/octet-stream", "RIFF")
		}, 5, 5},
		{"form u", body(part("u", ourKey) + part("d", "-a-general")), 20, 5},
		{"form d", body(part("d", "grammarFileNames=-a-general authorization="+ourKey)), 20, 14},
	}
}

// BenchmarkScan measures Scan, ReadForm and Key, and BenchmarkRewrite measures Rewrite. The
// time to make the requests does not count.
func BenchmarkScan(b *testing.B) { benchmarkSteps(b, true, false) }

func BenchmarkRewrite(b *testing.B) { benchmarkSteps(b, false, true) }

func benchmarkSteps(b *testing.B, finding, rewriting bool) {
	for _, c := range speedCases() {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			const batch = 64
			b.StopTimer()
			for done := 0; done < b.N; done += batch {
				requests, found := make([]*http.Request, batch), make([]*Found, batch)
				for i := range requests {
					requests[i] = c.request()
					if !finding {
						found[i] = findKey(b, requests[i])
					}
				}
				n := min(batch, b.N-done)
				b.StartTimer()
				for i := range n {
					if finding {
						found[i] = findKey(b, requests[i])
					}
					if rewriting {
						found[i].Rewrite(requests[i], replace)
						StripHeader(requests[i], true)
					}
				}
				b.StopTimer()
			}
		})
	}
}

func findKey(tb testing.TB, r *http.Request) *Found {
	f, secret, fault := find(tb, r, testMaxHead)
	if fault != nil || secret.Empty() {
		tb.Fatalf("refused: %v", fault)
	}
	return f
}

// The allocations of a request do not grow with the audio.
func TestR19_AllocationsPerRequestAreFew(t *testing.T) { //nolint:paralleltest // it counts allocations
	for _, c := range speedCases() {
		const runs = 100
		var requests []*http.Request
		for range runs + 1 { // AllocsPerRun warms up with one
			requests = append(requests, c.request())
		}
		found := make([]*Found, len(requests))
		i := 0
		if n := testing.AllocsPerRun(runs, func() { found[i] = findKey(t, requests[i]); i++ }); n > c.find {
			t.Errorf("%s: %v allocations to find the key, want at most %v", c.name, n, c.find)
		}
		i = 0
		if n := testing.AllocsPerRun(runs, func() {
			found[i].Rewrite(requests[i], replace)
			StripHeader(requests[i], true)
			i++
		}); n > c.rewrite {
			t.Errorf("%s: %v allocations to rewrite it, want at most %v", c.name, n, c.rewrite)
		}
	}
}

// The bytes that are read ahead of an upload do not grow with the audio.
func TestR19_NoMoreIsReadOfALongerUpload(t *testing.T) {
	t.Parallel()
	head := part("u", ourKey) + "--B0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
	for _, size := range []int64{1 << 10, 1 << 20, 1 << 30} {
		rest := &counting{Reader: io.LimitReader(zeros{}, size)}
		r := upload("", formType, "")
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(head), rest))
		r.ContentLength = int64(len(head)) + size
		f := findKey(t, r)
		f.Rewrite(r, replace)
		if rest.n > headChunk {
			t.Errorf("%d bytes of %d of audio were read ahead", rest.n, size)
		}
	}
}

type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func BenchmarkMaskURI(b *testing.B) {
	uri := "/v1/recognize?d=-a-general&c=16K&u=" + ourKey
	b.ReportAllocs()
	for b.Loop() {
		MaskURI(uri, api.Places)
	}
}

func BenchmarkRedactor(b *testing.B) {
	key := policy.NewSecret("the-backends-own-key-0123456789")
	answer := []byte(strings.Repeat(`{"text":"then there was the other thing","confidence":0.9},`, 1000))
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	first := NewRedactor(key, 0)
	for b.Loop() {
		r := first.Clone(len(answer))
		r.Next(answer)
		r.Rest()
	}
}

// BenchmarkPairs looks for a key among as many inline words as the vendor advises.
func BenchmarkPairs(b *testing.B) {
	var words strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&words, "音声認識%d_おんせいにんしき|", i)
	}
	for name, d := range map[string]string{
		"escaped":       "grammarFileNames=-a-general profileWords=" + url.PathEscape(words.String()) + " authorization=" + ourKey,
		"raw":           "grammarFileNames=-a-general profileWords=" + words.String() + " authorization=" + ourKey,
		"without a key": "grammarFileNames=-a-general profileWords=" + words.String(),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(d)))
			b.ReportAllocs()
			for b.Loop() {
				if _, fault := findPairs(d, "authorization"); fault != nil {
					b.Fatal(fault)
				}
			}
		})
	}
}
