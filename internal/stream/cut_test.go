package stream_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/stream"
)

func TestR14_ACutWorksInEveryState(t *testing.T) {
	for name, before := range map[string]func(r *rig){
		"before all":             func(*rig) {},
		"within a command":       func(r *rig) { r.send(startFrame[:9]) },
		"before the answer to s": func(r *rig) { r.send(startFrame); r.wantBackend(textOf(startSent)) },
		"in a session":           func(r *rig) { r.start() },
		"within audio":           func(r *rig) { r.start(); r.send(audio("x")[:2]) },
		"after e":                func(r *rig) { r.start(); r.send(text("e")); r.wantBackend(textOf("e")) },
		"between sessions": func(r *rig) {
			r.start()
			r.send(text("e"))
			r.wantBackend(textOf("e"))
			r.answer(text("e"))
			r.wantClient(textOf("e"))
		},
		"within a text that is held": func(r *rig) { r.start(); r.answer(text("A {}")[:3]) },
		"within a header":            func(r *rig) { r.start(); r.answer(binaryOf("xyz")[:1]) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			before(r)
			time.Sleep(20 * time.Millisecond)
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() { r.guard.Cut("") })
			}
			all.Wait()
			go r.client.Write(audio("late"))
			go r.backend.Write(text("late"))
			r.wantEnd(cutText)
			r.guard.Cut("again")
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.ends != len(r.keys) || len(r.refused) != 0 {
				t.Errorf("%d sessions over of %d, refused for %v", r.ends, len(r.keys), r.refused)
			}
		})
	}
}

func TestR14_ACutBeforeWrap(t *testing.T) {
	r := &rig{t: t}
	g := stream.New(r.config())
	g.Cut("p own words")
	client, inner := socketPair(t)
	conn, _ := g.Wrap(inner, nil)
	if f, err := readFrame(client); err != nil || f != textOf("p own words") {
		t.Errorf("the client gets %+v, %v", f, err)
	}
	client.Close()
	if n, err := conn.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestR14_ACutWithinAFrameOfTheBackends(t *testing.T) {
	whole := binaryOf("in two pieces")
	t.Run("that is completed", func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.answer(whole[:5])
		if _, err := r.fromC.Peek(5); err != nil {
			t.Fatal(err)
		}
		r.guard.Cut("")
		time.Sleep(30 * time.Millisecond)
		r.answer(append(bytes.Clone(whole[5:]), text("late")...))
		r.wantClient(got{true, 2, false, "in two pieces"})
		r.wantEnd(cutText)
	})
	t.Run("that is a message in pieces", func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.answer(rawFrame(0x02, nil, 0, []byte("one")))
		r.wantClient(got{false, 2, false, "one"})
		r.guard.Cut("")
		time.Sleep(30 * time.Millisecond)
		r.answer(rawFrame(0x80, nil, 0, []byte("two")), binaryOf("late"))
		r.wantClient(got{true, 0, false, "two"})
		r.wantEnd(cutText)
	})
	t.Run("that is not", func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.answer(whole[:5])
		if _, err := r.fromC.Peek(5); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.guard.Cut("")
		if rest, err := io.ReadAll(r.fromC); !bytes.Equal(rest, whole[:5]) || err != nil && !isReset(err) {
			t.Errorf("the client gets %q, %v", rest, err)
		}
		r.wantSilence()
		<-r.done
		if d := time.Since(began); d > 800*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

func TestR14_ACutOfAClientThatDoesNotRead(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	r.client.(*net.TCPConn).SetReadBuffer(4 << 10)
	full := make(chan struct{})
	go func() {
		defer close(full)
		for frame := binaryOf(string(make([]byte, 64<<10))); ; {
			if _, err := r.backend.Write(frame); err != nil {
				return
			}
		}
	}()
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	r.guard.Cut("")
	<-r.done
	<-full
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %v", d)
	}
}

// TestR14_ACutOfABackendThatDoesNotRead has the proxy blocked in its write, where
// only OnClose reaches it.
func TestR14_ACutOfABackendThatDoesNotRead(t *testing.T) {
	var r *rig
	r = newRig(t, func(cfg *stream.Config) { cfg.OnClose = func() { r.backend.Close() } })
	r.start()
	full := make(chan struct{})
	go func() {
		defer close(full)
		for frame := audio(string(make([]byte, 64<<10))); ; {
			if _, err := r.client.Write(frame); err != nil {
				return
			}
		}
	}()
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	r.guard.Cut("")
	r.wantClient(textOf(cutText))
	<-r.done
	<-full
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestAServersShutdownClosesTheStream(t *testing.T) {
	r := &rig{t: t}
	g := stream.New(r.config())
	client, inner := socketPair(t)
	conn, _ := g.Wrap(inner, nil)
	reading := make(chan error)
	go func() {
		_, err := conn.Read(make([]byte, 10))
		reading <- err
	}()
	if _, err := conn.Write(rawFrame(0x88, nil, 0, []byte{3, 233})); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := <-reading; err == nil {
		t.Error("a read goes on")
	}
	if _, err := conn.Write([]byte("x")); err == nil {
		t.Error("a write goes on")
	}
	if f, err := readFrame(client); err != nil || f != (got{true, 8, false, "\x03\xe9"}) {
		t.Errorf("the client gets %+v, %v", f, err)
	}
	if err := conn.Close(); err != nil || r.closes != 1 {
		t.Errorf("closed again: %v, OnClose %d times", err, r.closes)
	}
}
