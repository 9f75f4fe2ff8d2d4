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

// Heads share memory, one after the other. Whatever their lengths, the pieces in
// which they come and those in which they are read on, none has a byte of another's.
func TestHead_FormsAtATimeStayApart(t *testing.T) {
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
				f.Swap(r, Upstream{Mode: Replace, Key: policy.NewSecret("mine-" + key)})
				want := strings.Replace(body, part("u", key), part("u", "mine-"+key), 1)
				if random.IntN(10) == 0 {
					continue // some are given up half read
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
