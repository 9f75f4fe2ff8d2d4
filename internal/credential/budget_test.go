package credential

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// testBudget is a Budget for one request.
type testBudget struct {
	t        *testing.T
	w        http.ResponseWriter
	most     int
	lostWhen int // the budget ends the reservation at this many bytes; 0 means never

	begun, held, peak int
	lost              string
}

func (b *testBudget) Begin(w http.ResponseWriter) Reservation {
	if b.begun++; w != b.w {
		b.t.Error("it is begun for another request")
	}
	return b
}

func (b *testBudget) Reserve(n int) bool {
	if n <= 0 {
		b.t.Errorf("%d bytes are reserved", n)
	}
	if b.lostWhen > 0 && b.held+n > b.lostWhen {
		b.lost = "it was ended"
	}
	if b.held+n > b.most || b.lost != "" {
		return false
	}
	b.held += n
	b.peak = max(b.peak, b.held)
	return true
}

func (b *testBudget) Release(n int) {
	if b.held -= n; b.held < 0 {
		b.t.Error("more is given back than was reserved")
	}
}

func (b *testBudget) Lost() string { return b.lost }

// formOf returns a form with a part d of this size before the key.
func formOf(size int) string {
	return part("d", strings.Repeat("x", size)) + part("u", ourKey) + part("a", "audio") + "--B0--\r\n"
}

// Over HTTP/2 and HTTP/3, many requests can share a connection. Each of them counts,
// however short its head is.
func TestR21_ARequestThatSharesAConnectionCounts(t *testing.T) {
	t.Parallel()
	for major, want := range map[int]int{1: 0, 2: streamCost, 3: streamCost} {
		b := &testBudget{t: t, w: new(nopWriter), most: 1 << 20}
		r := upload("", formType, formOf(100))
		r.ProtoMajor = major
		f := Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
		if err := f.ReadForm(b.w, r, testMaxHead, b); err != nil {
			t.Fatal(err)
		}
		if b.held != want {
			t.Errorf("over HTTP/%d %d bytes are reserved, want %d", major, b.held, want)
		}
		if f.ReleaseBudget(); b.held != 0 {
			t.Errorf("over HTTP/%d %d bytes are not given back", major, b.held)
		}
	}
	b := &testBudget{t: t, w: new(nopWriter), most: streamCost - 1}
	r := upload("", formType, formOf(100))
	r.ProtoMajor = 2
	f := Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
	if err := f.ReadForm(b.w, r, testMaxHead, b); err != nil {
		t.Fatal(err)
	}
	if _, fault := f.Key(); fault == nil || fault.Reason != policy.LimitReached {
		t.Errorf("without memory: %v", fault)
	}
	f.ReleaseBudget()
}

func TestR21_AHeadReservesItsMemory(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, 3000, 4096, 5000, 9000, 30_000, 60_000} {
		body := formOf(size)
		b := &testBudget{t: t, w: new(nopWriter), most: 1 << 20}
		r := upload("", formType, body)
		f := Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
		if err := f.ReadForm(b.w, r, testMaxHead, b); err != nil {
			t.Fatal(err)
		}
		head := &f.form.head
		if head.chunk != nil && b.begun != 0 || head.chunk == nil && (b.begun != 1 || b.held != cap(head.buf)) {
			t.Errorf("a head of %d: %d bytes are reserved in %d reservations for %d", len(head.buf), b.held, b.begun, cap(head.buf))
		}
		if head.chunk == nil && cap(head.buf) > 2*len(head.buf) {
			t.Errorf("a head of %d takes %d bytes", len(head.buf), cap(head.buf))
		}
		lost := f.ReleaseBudget()
		if again := f.ReleaseBudget(); b.held != 0 || lost || again {
			t.Errorf("a head of %d: %d bytes are not given back", len(head.buf), b.held)
		}
		if got, err := io.ReadAll(r.Body); err != nil || string(got) != body {
			t.Errorf("a head of %d: the body is another when it is read again, %v", size, err)
		}
	}
}

func TestR21_AHeadWithoutMemoryIsAFault(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]*testBudget{
		"nothing is left":          {most: 0},
		"a little is left":         {most: 20_000},
		"the reservation is ended": {most: 1 << 20, lostWhen: 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b.t, b.w = t, new(nopWriter)
			want := errNoMemory.Detail
			if b.lostWhen > 0 {
				want = "it was ended"
			}
			body := formOf(50_000)
			r := upload("", formType, body)
			original := r.Body
			f := Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
			if err := f.ReadForm(b.w, r, testMaxHead, b); err != nil {
				t.Fatal(err)
			}
			if _, fault := f.Key(); fault == nil || fault.Reason != policy.LimitReached || fault.Detail != want {
				t.Errorf("the fault is %v", fault)
			}
			read := len(f.form.head.buf)
			if f.DiscardForm(r); r.Body != original || f.form.occurrences != nil || f.form.body.pieces != nil {
				t.Error("the form is not discarded")
			}
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != body[read:] {
				t.Errorf("behind the %d bytes that were read there is something else, %v", read, err)
			}
			// A proxy that still has the body gets what the request has now, and no released buffer.
			if n, err := f.form.body.Read(make([]byte, 9)); n != 0 || !errors.Is(err, io.EOF) || f.form.pieceArray[0] != nil {
				t.Errorf("the discarded body gives %d bytes, %v", n, err)
			}
			if lost := f.ReleaseBudget(); b.held != 0 || f.form.head.buf != nil || lost != (b.lost != "") {
				t.Errorf("%d bytes are not given back, and the reservation was lost: %t", b.held, lost)
			}
		})
	}
}

// A backend that has got the whole head needs no memory for it any more.
func TestR21_TheMemoryOfAHeadIsReleasedWhenItHasBeenSent(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5000, 50_000} {
		body := formOf(size)
		b := &testBudget{t: t, w: new(nopWriter), most: 1 << 20}
		r := upload("", formType, body)
		f := Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
		if err := f.ReadForm(b.w, r, testMaxHead, b); err != nil || b.held == 0 {
			t.Fatalf("%d bytes are reserved, %v", b.held, err)
		}
		if _, err := io.CopyN(io.Discard, r.Body, int64(size)); err != nil || b.held == 0 {
			t.Errorf("in the middle of the head, %d bytes are reserved, %v", b.held, err)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil || b.held != 0 {
			t.Errorf("at the end, %d bytes are reserved, %v", b.held, err)
		}
	}
	if f := new(Found); f.ReleaseBudget() {
		t.Error("a request without a form has lost a reservation")
	}
}

// The memory is given back in every way in which the reading of a form can end.
func TestR21_AFormThatCannotBeReadReleasesItsMemory(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"it breaks off":   formOf(50_000)[:40_000],
		"it is too large": formOf(2 * testMaxHead),
		"it has two keys": part("u", "other") + formOf(50_000),
		"it has no end":   part("d", strings.Repeat("x", 50_000)) + "--B0 ",
	} {
		b := &testBudget{t: t, w: new(nopWriter), most: 1 << 20}
		r := upload("", formType, body)
		f := Scan(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
		if err := f.ReadForm(b.w, r, testMaxHead, b); err != nil {
			t.Fatal(err)
		}
		if _, fault := f.Key(); fault == nil || b.peak == 0 {
			t.Errorf("%s: the fault is %v, and %d bytes were reserved", name, fault, b.peak)
		}
		if f.ReleaseBudget(); b.held != 0 {
			t.Errorf("%s: %d bytes are not given back", name, b.held)
		}
	}
}

// Long heads are read at the same time, and their buffers are used again. Each body must
// give what its own client sent.
func TestR18_LongHeadsShareNoMemory(t *testing.T) {
	t.Parallel()
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			for size := 3000; size < 60_000; size += 1777 {
				body := part("d", strings.Repeat(string(rune('a'+i)), size)) + part("u", ourKey) + part("a", "audio") + "--B0--\r\n"
				r := upload("", formType, body)
				f, secret, fault := find(panicking{}, r, testMaxHead)
				if fault != nil || secret.Reveal() != ourKey {
					t.Errorf("a head of %d is refused: %v", size, fault)
				}
				f.Rewrite(r, pass)
				if got, err := io.ReadAll(r.Body); err != nil || string(got) != body {
					t.Errorf("a body of %d is another when it is read again, %v", size, err)
				}
			}
		})
	}
	readers.Wait()
}

// panicking is a tester for goroutines other than that of the test.
type panicking struct{}

func (panicking) Helper() {}

func (panicking) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// The garbage of heads that grow would take more memory than the heads.
func TestR21_HeadsUseBuffersAgain(t *testing.T) { //nolint:paralleltest // it reads the memory statistics of the process
	for _, size := range []int{100, 60_000} {
		body := strings.NewReader("")
		text := formOf(size)
		read := func() {
			body.Reset(text)
			f := Found{body: bodyForm, boundary: "B0", shortestBoundary: "B0", audioPart: "a"}
			r := http.Request{Body: io.NopCloser(body)}
			if err := f.ReadForm(nil, &r, 2*testMaxHead, nil); err != nil || f.fault != nil || !f.form.hasAudio {
				t.Fatalf("%v, %v", err, f.fault)
			}
			f.DiscardForm(&r)
		}
		read()
		const forms = 300
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range forms {
			read()
		}
		runtime.ReadMemStats(&after)
		// Without the pools, a form takes a chunk, or buffers of 8 to 64 KiB. With the race
		// detector, a pool drops a quarter of its buffers.
		if most := uint64(size + 3000); (after.TotalAlloc-before.TotalAlloc)/forms > most {
			t.Errorf("a form with a head of %d takes %d bytes, want at most %d", size, (after.TotalAlloc-before.TotalAlloc)/forms, most)
		}
	}
}

func TestR21_BuffersHaveTheRequestedSize(t *testing.T) {
	t.Parallel()
	var pools bufferPools
	for _, size := range []int{8 << 10, 64 << 10, 1 << 20, 16 << 20, 5000, 4096, 1 << 30} {
		if size > 16<<20 {
			if pools.pool(size) != nil {
				t.Errorf("buffers of %d bytes are kept", size)
			}
			continue
		}
		buf := pools.get(size)
		if len(buf) != 0 || cap(buf) != size {
			t.Errorf("a buffer of %d has %d of %d bytes", size, len(buf), cap(buf))
		}
		pools.put(append(buf, "used"...))
		if again := pools.get(size); len(again) != 0 || cap(again) != size {
			t.Errorf("a used buffer of %d has %d of %d bytes", size, len(again), cap(again))
		}
	}
	pools.put(nil)
	for size, class := range map[int]int{8 << 10: 1, 16 << 10: 2, 1 << 20: 8, 16 << 20: 12} {
		if pools.pool(size) != &pools[class] {
			t.Errorf("buffers of %d bytes are not in pool %d", size, class)
		}
	}
	for _, size := range []int{0, 1, 4096, 5000, 12 << 10, 8<<10 + 1, 32 << 20} {
		if pools.pool(size) != nil {
			t.Errorf("buffers of %d bytes are kept", size)
		}
	}
}

type nopWriter struct{ http.ResponseWriter }
