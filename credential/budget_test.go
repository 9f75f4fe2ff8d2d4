package credential

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// testBudget is one for a single request.
type testBudget struct {
	t        *testing.T
	w        http.ResponseWriter
	most     int
	lostWhen int // bytes at which the reservation is ended; 0 for never

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

// formOf is a form with a part d of that size before the key.
func formOf(size int) string {
	return part("d", strings.Repeat("x", size)) + part("u", ourKey) + part("a", "audio") + "--B0--\r\n"
}

func TestR21_AHeadCountsWithTheMemoryThatItTakes(t *testing.T) {
	for _, size := range []int{0, 100, 3000, 4096, 5000, 9000, 30_000, 60_000} {
		body := formOf(size)
		b := &testBudget{t: t, w: new(nopWriter), most: 1 << 20}
		r := upload("", formType, body)
		f := Find(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
		if err := f.ReadFormWithin(b.w, r, testMaxHead, b); err != nil {
			t.Fatal(err)
		}
		head := &f.form.head
		if head.chunk != nil && b.begun != 0 || head.chunk == nil && (b.begun != 1 || b.held != cap(head.buf)) {
			t.Errorf("a head of %d: %d bytes are reserved in %d reservations for %d", len(head.buf), b.held, b.begun, cap(head.buf))
		}
		if head.chunk == nil && cap(head.buf) > 2*len(head.buf) {
			t.Errorf("a head of %d takes %d bytes", len(head.buf), cap(head.buf))
		}
		f.Judged()
		f.Judged()
		if b.held != 0 {
			t.Errorf("a head of %d: %d bytes are not given back", len(head.buf), b.held)
		}
		if got, err := io.ReadAll(r.Body); err != nil || string(got) != body {
			t.Errorf("a head of %d: the body is another when it is read again, %v", size, err)
		}
	}
}

func TestR21_AHeadWithoutMemoryIsAFault(t *testing.T) {
	for name, b := range map[string]*testBudget{
		"nothing is left":          {most: 0},
		"a little is left":         {most: 20_000},
		"the reservation is ended": {most: 1 << 20, lostWhen: 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			b.t, b.w = t, new(nopWriter)
			body := formOf(50_000)
			r := upload("", formType, body)
			f := Find(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
			if err := f.ReadFormWithin(b.w, r, testMaxHead, b); err != nil {
				t.Fatal(err)
			}
			if _, fault := f.Credential(); fault == nil || fault.Reason != policy.LimitReached || b.lost != "" && fault.Detail != b.lost {
				t.Errorf("the fault is %v", fault)
			}
			read := len(f.form.head.buf)
			f.Drop(r)
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != body[read:] {
				t.Errorf("behind the %d bytes that were read there is something else, %v", read, err)
			}
			if f.Judged(); b.held != 0 || f.form.head.buf != nil {
				t.Errorf("%d bytes are not given back", b.held)
			}
		})
	}
}

// TestR21_AFormThatCannotBeReadGivesItsMemoryBack holds it for every way in which the
// reading of a form can end.
func TestR21_AFormThatCannotBeReadGivesItsMemoryBack(t *testing.T) {
	for name, body := range map[string]string{
		"it breaks off":   formOf(50_000)[:40_000],
		"it is too large": formOf(2 * testMaxHead),
		"it has two keys": part("u", "other") + formOf(50_000),
		"it has no end":   part("d", strings.Repeat("x", 50_000)) + "--B0 ",
	} {
		b := &testBudget{t: t, w: new(nopWriter), most: 1 << 20}
		r := upload("", formType, body)
		f := Find(r, api, api.Classify(r.Method, r.URL.EscapedPath()).Route)
		if err := f.ReadFormWithin(b.w, r, testMaxHead, b); err != nil {
			t.Fatal(err)
		}
		if _, fault := f.Credential(); fault == nil || b.peak == 0 {
			t.Errorf("%s: the fault is %v, and %d bytes were reserved", name, fault, b.peak)
		}
		if f.Judged(); b.held != 0 {
			t.Errorf("%s: %d bytes are not given back", name, b.held)
		}
	}
}

type nopWriter struct{ http.ResponseWriter }
