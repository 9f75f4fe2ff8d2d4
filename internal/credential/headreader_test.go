package credential

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/speechgate/speechgate/policy"
)

// A head keeps its bytes while other heads are read, even if its body is read later or
// never. Its memory is given back once.
func TestR18_ABufferIsUsedAgainOnlyAfterItIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	begin := func(key string) (body io.Reader, want string) {
		want = part("u", key) + part("a", strings.Repeat(key, 50)) + end
		r := upload("", formType, want)
		if _, secret, fault := find(t, r, testMaxHead); fault != nil || secret.Reveal() != key {
			t.Fatalf("the key is %q, %v, want %s", secret.Reveal(), fault, key)
		}
		return r.Body, want
	}
	check := func(what string, body io.Reader, want string) {
		t.Helper()
		if got, err := io.ReadAll(body); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", what, got, err, want)
		}
	}
	for i := range 50 {
		name := func(what string) string { return fmt.Sprintf("%s-key-%d", what, i) }
		first, firstWant := begin(name("first"))
		left, _ := begin(name("left"))
		if _, err := io.CopyN(io.Discard, first, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, left, 30); err != nil {
			t.Fatal(err)
		}
		second, secondWant := begin(name("second"))
		check("the first", first, firstWant[1:])
		check("behind its end", first, "")
		third, thirdWant := begin(name("third"))
		fourth, fourthWant := begin(name("fourth"))
		check("the second", second, secondWant)
		check("the third", third, thirdWant)
		check("the fourth", fourth, fourthWant)
	}
}

// lockedReader can have several readers, as a body of net/http can.
type lockedReader struct {
	mu sync.Mutex
	io.Reader
}

func (r *lockedReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Reader.Read(p)
}

// A proxy that sends a request again can have two readers of one body. Each byte goes to
// one of them. The race detector finds a buffer that is released too early.
func TestR18_TwoReadersOfAFormGetEachByteOnce(t *testing.T) {
	t.Parallel()
	for i := range 100 {
		key := fmt.Sprintf("key-%d", i)
		body := part("u", key) + part("a", strings.Repeat(key, 500)) + end
		r := upload("", formType, body)
		r.Body = io.NopCloser(&lockedReader{Reader: strings.NewReader(body)})
		if _, secret, fault := find(t, r, testMaxHead); fault != nil || secret.Reveal() != key {
			t.Fatalf("the key is %q, %v, want %s", secret.Reveal(), fault, key)
		}
		var readers sync.WaitGroup
		var got [2]bytes.Buffer
		for j := range got {
			readers.Go(func() {
				for piece := make([]byte, 700); ; {
					n, err := r.Body.Read(piece)
					got[j].Write(piece[:n])
					if err != nil {
						return
					}
				}
			})
		}
		readers.Wait()
		var counts [256]int
		for _, c := range []byte(body) {
			counts[c]++
		}
		for _, c := range append(got[0].Bytes(), got[1].Bytes()...) {
			counts[c]--
		}
		if counts != [256]int{} {
			t.Fatalf("of form %s, two readers have other bytes than those that came", key)
		}
	}
}

// Heads use the same buffers, one after the other. No body may have a byte of another one,
// whatever the length of the heads, and in whatever pieces they are read.
func TestR18_FormsReadAtTheSameTimeShareNoMemory(t *testing.T) {
	t.Parallel()
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(client), 1))
			for i := range 300 {
				key := fmt.Sprintf("key-%d-%d", client, i)
				long := part("x", strings.Repeat(string(rune('a'+client)), random.IntN(3*headChunk)))
				form := func(key string) string {
					return long + part("u", key) + part("a", strings.Repeat(key, random.IntN(1000)+1)) + end
				}
				body := form(key)
				r := upload("", formType, body)
				r.Body = io.NopCloser(iotest.HalfReader(strings.NewReader(body)))
				f, secret, fault := find(t, r, testMaxHead)
				if fault != nil || secret.Reveal() != key {
					t.Errorf("the key of form %s is %q, %v", key, secret.Reveal(), fault)
					return
				}
				f.Rewrite(r, ReplaceWith(policy.NewSecret("mine-"+key)))
				want := strings.Replace(body, part("u", key), part("u", "mine-"+key), 1)
				if random.IntN(10) == 0 {
					_, _ = r.Body.Read(make([]byte, random.IntN(len(body)))) // some clients go away in the middle
					continue
				}
				var got bytes.Buffer
				for piece := make([]byte, random.IntN(2*headChunk)+1); ; {
					n, err := r.Body.Read(piece)
					got.Write(piece[:n])
					if err != nil {
						break
					}
				}
				if got.String() != want {
					t.Errorf("of form %s other bytes went on than those that came", key)
					return
				}
				if n, err := r.Body.Read(make([]byte, 9)); n != 0 || err != io.EOF {
					t.Errorf("behind its end: %d bytes, %v", n, err)
				}
			}
		})
	}
	clients.Wait()
}
