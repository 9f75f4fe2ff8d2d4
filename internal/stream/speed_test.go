package stream_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/speechgate/speechgate/internal/wstest"
)

// endless is a connection from which the same bytes come again and again.
type endless struct {
	script
	loop []byte
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	if len(e.in) > 0 {
		return e.script.Read(p)
	}
	for n < len(p) {
		k := copy(p[n:], e.loop[e.at:])
		n += k
		e.at = (e.at + k) % len(e.loop)
	}
	return n, nil
}

func (*endless) Write(p []byte) (int, error) { return len(p), nil }

func TestForwardingAllocatesNothing(t *testing.T) { //nolint:paralleltest // measures allocations
	long := string(make([]byte, 4096))
	for name, loop := range map[string][]byte{
		"audio":            audio(long),
		"masked audio":     wstest.Raw(0x82, mask, 0, []byte("p"+long)),
		"small audio":      audio("x"),
		"large audio":      audio(string(make([]byte, 200_000))),
		"audio and Pings":  slices.Concat(audio(long), wstest.Raw(0x89, mask, 0, []byte("x"))),
		"audio in pieces":  slices.Concat(wstest.Raw(0x02, mask, 0, []byte("p"+long)), wstest.Raw(0x00, mask, 0, []byte(long)), wstest.Raw(0x80, mask, 0, []byte(long))),
		"an odd 4097 read": wstest.Raw(0x82, nil, 64, []byte("p"+long)),
	} {
		e := &endless{loop: loop}
		e.in = [][]byte{startFrame}
		r := &rig{t: t}
		cfg := r.config()
		conn, _ := cfg.guard().Wrap(e, nil)
		p := make([]byte, 32<<10)
		read := func() {
			if _, err := conn.Read(p); err != nil {
				t.Fatal(name, err)
			}
		}
		for range 100 {
			read()
		}
		if n := testing.AllocsPerRun(500, read); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
		answers := slices.Concat(wstest.RawText("S 100"), wstest.RawText(`U {"text":"no key here"}`), wstest.Raw(0x8A, nil, 0, []byte("x")))
		cut := answers[:20]
		if n := testing.AllocsPerRun(500, func() {
			for _, piece := range [][]byte{answers, cut, answers[len(cut):]} {
				if _, err := conn.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations for the answers", name, n)
		}
		conn.Close()
	}
}

// TestFullReadsStayFull checks that one read returns many small frames, if one read of
// the client's connection does.
func TestFullReadsStayFull(t *testing.T) {
	t.Parallel()
	e := &endless{loop: audio(string(make([]byte, 4096)))}
	e.in = [][]byte{startFrame}
	r := &rig{t: t}
	conn, _ := r.config().guard().Wrap(e, nil)
	defer conn.Close()
	p := make([]byte, 32<<10)
	total, calls := 0, 1000
	for range calls {
		n, err := conn.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if mean := total / calls; mean < 30<<10 {
		t.Errorf("a read yields %d bytes of %d", mean, len(p))
	}
}

// plain hides ReadFrom and WriteTo, with which a copy would go past the guard's buffer.
type plain struct{ net.Conn }

func BenchmarkGuard_Saturated(b *testing.B) {
	for _, size := range []int{320, 4096, 60_000} {
		for _, kind := range []string{"bare", "guarded"} {
			b.Run(fmt.Sprint(kind, "/", size), func(b *testing.B) {
				client, inner := wstest.Pair(b)
				proxy, backend := wstest.Pair(b)
				frame := wstest.Raw(0x82, mask, 0, append([]byte("p"), make([]byte, size)...))
				batch := bytes.Repeat(frame, 1+(128<<10)/len(frame))
				var src net.Conn = plain{inner}
				start := wstest.Raw(0x81, nil, 0, []byte("s 16K -a-general authorization="+upstreamKey))
				if kind == "guarded" {
					r := &rig{t: b}
					src, _ = r.config().guard().Wrap(inner, nil)
					start = startFrame
				}
				go func() {
					_, _ = io.CopyBuffer(plain{proxy}, src, make([]byte, 32<<10))
					proxy.Close()
				}()
				go func() {
					_, _ = client.Write(start)
					for range b.N {
						_, _ = client.Write(batch)
					}
				}()
				b.ReportAllocs()
				b.SetBytes(int64(len(batch)))
				want := int64(len(batch))*int64(b.N) + int64(len(wstest.Raw(0x81, nil, 0, []byte(startSent))))
				buf := make([]byte, 256<<10)
				b.ResetTimer()
				for got := int64(0); got < want; {
					n, err := backend.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					got += int64(n)
				}
				b.StopTimer()
				src.Close()
			})
		}
	}
}

// BenchmarkGuard_Read is the guard alone, without sockets, for what the client sends.
func BenchmarkGuard_Read(b *testing.B) {
	for _, size := range []int{320, 4096, 60_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			e := &endless{loop: wstest.Raw(0x82, mask, 0, append([]byte("p"), make([]byte, size)...))}
			e.in = [][]byte{startFrame}
			r := &rig{t: b}
			conn, _ := r.config().guard().Wrap(e, nil)
			defer conn.Close()
			p := make([]byte, 32<<10)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if _, err := conn.Read(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGuard_Write is the guard alone, for what the backend sends.
func BenchmarkGuard_Write(b *testing.B) {
	e := &endless{loop: audio("x")}
	e.in = [][]byte{startFrame}
	r := &rig{t: b}
	conn, _ := r.config().guard().Wrap(e, nil)
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 100)); err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Write(wstest.RawText("s")); err != nil {
		b.Fatal(err)
	}
	answers := slices.Concat(wstest.RawText("S 100"), wstest.RawText(`U {"text":"no key here"}`))
	b.SetBytes(int64(len(answers)))
	for b.Loop() {
		if _, err := conn.Write(answers); err != nil {
			b.Fatal(err)
		}
	}
}
