package stream_test

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/stream"
)

// held has a session ended and the next one begun at once.
func (r *rig) held(after ...[]byte) {
	r.t.Helper()
	r.start()
	r.send(slices.Concat(text("e"), startFrame, slices.Concat(after...)))
	r.wantBackend(textOf("e"))
}

// keysSeen is how many keys have been judged.
func (r *rig) keysSeen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

func TestR14_AStartBeforeTheEndIsAnsweredIsHeldAndJudgedThen(t *testing.T) {
	r := newRig(t, nil)
	r.held(audio("one"), rawFrame(0x02, nil, 0, []byte("ptwo")), rawFrame(0x80, nil, 0, []byte("three")), text("e"))
	r.answer(text(`A {"text":"first"}`))
	r.wantClient(textOf(`A {"text":"first"}`))
	if n := r.keysSeen(); n != 1 {
		t.Errorf("%d keys have been judged before the answer", n)
	}
	r.answer(text("e"))
	r.wantClient(textOf("e"))
	r.wantBackend(textOf(startSent), audioOf("one"), audioOf("two"), audioOf("three"), textOf("e"))
	r.answer(text("s"), text("e"))
	r.wantClient(textOf("s"), textOf("e"))
	if n := r.over(); n != 2 || r.keysSeen() != 2 {
		t.Errorf("%d sessions over, %d keys judged", n, r.keysSeen())
	}
	t.Run("three sessions at once", func(t *testing.T) {
		r := newRig(t, nil)
		session := slices.Concat(startFrame, audio("x"), text("e"))
		r.send(bytes.Repeat(session, 3))
		for range 3 {
			r.wantBackend(textOf(startSent), audioOf("x"), textOf("e"))
			r.answer(text("s"), text("e"))
			r.wantClient(textOf("s"), textOf("e"))
		}
	})
	t.Run("and refused then", func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		r.send(text("e"), text("s authorization=OTHER"), audio("x"))
		r.wantBackend(textOf("e"))
		r.answer(text("A {}"), text("e"))
		r.wantClient(textOf("A {}"), textOf("e"))
		r.wantEnd(denied)
	})
	t.Run("after an end that failed", func(t *testing.T) {
		r := newRig(t, nil)
		r.held()
		r.answer(text("e timeout occurred"))
		r.wantClient(textOf("e timeout occurred"))
		r.wantBackend(textOf(startSent))
	})
	t.Run("with what is out of turn after it", func(t *testing.T) {
		r := newRig(t, nil)
		r.held(startFrame)
		r.answer(text("e"))
		r.wantClient(textOf("e"))
		r.wantEnd(unreadable)
	})
}

func TestR14_HeldStartsAreReadHoweverTheyAreCut(t *testing.T) {
	later := slices.Concat(
		rawFrame(0x01, mask, 0, []byte(startText[:9])), rawFrame(0x80, mask, 0, []byte(startText[9:])),
		rawFrame(0x82, mask, 16, []byte("pAB")), rawFrame(0x89, mask, 0, []byte("ping")), rawFrame(0x81, nil, 0, []byte("e")))
	want := []got{textOf(startSent), textOf("e"), {true, 9, true, "ping"}, {true, 1, true, startSent}, {true, 2, true, "pAB"}, textOf("e")}
	for at := range len(later) {
		for answered := range 3 {
			f := newPiped(t, nil)
			f.feed(startFrame)
			f.respond(text("s"))
			f.feed(slices.Concat(text("e"), later[:at]))
			if answered == 0 {
				f.respond(text("e")[:1])
			}
			if answered == 1 {
				f.respond(text("e"))
			}
			f.feed(later[at:])
			switch answered {
			case 0:
				f.respond(text("e")[1:])
			case 2:
				f.respond(text("e"))
			}
			f.feed(rawFrame(0x8A, mask, 0, nil)) // a read, in which the held command goes on
			sent := frames(t, f.sent.Bytes())
			sent = slices.DeleteFunc(sent, func(g got) bool { return g.opcode == 10 })
			data := func(all []got) []got {
				return slices.DeleteFunc(slices.Clone(all), func(g got) bool { return g.opcode > 8 })
			}
			// A Ping may overtake what is held, and nothing else may.
			if !slices.Equal(data(sent), data(want)) || len(sent) != len(want) {
				t.Fatalf("cut at %d: the backend gets %+v", at, sent)
			}
		}
	}
}

func TestR14_NothingStopsWhileAStartIsHeld(t *testing.T) {
	t.Run("control frames", func(t *testing.T) {
		r := newRig(t, nil)
		r.held(audio("x"), rawFrame(0x89, mask, 0, []byte("1")), audio("y"))
		r.wantBackend(got{true, 9, true, "1"})
		r.send(rawFrame(0x8A, mask, 0, []byte("2")))
		r.wantBackend(got{true, 10, true, "2"})
		r.answer(rawFrame(0x89, nil, 0, []byte("3")), text("e"))
		r.wantClient(got{true, 9, false, "3"}, textOf("e"))
		r.wantBackend(textOf(startSent), audioOf("x"), audioOf("y"))
	})
	t.Run("a Close", func(t *testing.T) {
		r := newRig(t, nil)
		r.held(audio("x"), rawFrame(0x88, mask, 0, []byte{3, 232}))
		r.wantBackend(got{true, 8, true, "\x03\xe8"})
		r.answer(text("e"), rawFrame(0x88, nil, 0, []byte{3, 232}))
		r.wantClient(textOf("e"), got{true, 8, false, "\x03\xe8"})
		r.client.Close()
		r.wantSilence()
		if n := r.keysSeen(); n != 1 {
			t.Errorf("%d keys have been judged", n)
		}
	})
	for name, after := range map[string][]byte{
		"a cut": nil, "a cut within audio": audio("xyz")[:3], "a cut when no more is held": audio(string(make([]byte, 100_000))),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			go r.client.Write(slices.Concat(text("e"), startFrame, after))
			r.wantBackend(textOf("e"))
			time.Sleep(50 * time.Millisecond)
			r.guard.Cut("")
			r.wantClient(textOf(cutText))
			r.wantSilence()
			<-r.done
			if r.keysSeen() != 1 || r.over() != 1 {
				t.Errorf("%d keys judged, %d sessions over", r.keysSeen(), r.over())
			}
		})
	}
	t.Run("a client that vanishes", func(t *testing.T) {
		r := newRig(t, nil)
		r.held()
		r.client.(*net.TCPConn).SetLinger(0)
		r.client.Close()
		<-r.done
	})
	t.Run("a client that half-closes", func(t *testing.T) {
		r := newRig(t, nil)
		r.held(audio("x"), text("e"))
		r.client.(*net.TCPConn).CloseWrite()
		time.Sleep(20 * time.Millisecond)
		r.answer(text("e"))
		r.wantClient(textOf("e"))
		r.wantBackend(textOf(startSent), audioOf("x"), textOf("e"))
		r.wantSilence()
		r.answer(text("s"), text("e"))
		r.wantClient(textOf("s"), textOf("e"))
	})
	t.Run("a client that half-closes, before a backend that never answers", func(t *testing.T) {
		r := newRig(t, func(cfg *stream.Config) { cfg.CommandTime = 100 * time.Millisecond })
		r.held()
		r.client.(*net.TCPConn).CloseWrite()
		<-r.done
		r.wantRefused(malformed)
	})
	t.Run("more audio than is held", func(t *testing.T) {
		r := newRig(t, nil)
		r.start()
		chunk := string(make([]byte, 4096))
		go func() {
			r.client.Write(slices.Concat(text("e"), startFrame))
			for range 1000 {
				r.client.Write(audio(chunk))
			}
			r.client.Write(text("e"))
		}()
		r.wantBackend(textOf("e"))
		time.Sleep(100 * time.Millisecond)
		r.answer(text("e"))
		r.wantClient(textOf("e"))
		r.wantBackend(textOf(startSent))
		for range 1000 {
			r.wantBackend(audioOf(chunk))
		}
		r.wantBackend(textOf("e"))
	})
	t.Run("the proxy's deadlines", func(t *testing.T) {
		r := &rig{t: t}
		client, inner := socketPair(t)
		conn, _ := stream.New(r.config()).Wrap(inner, nil)
		defer conn.Close()
		client.Write(slices.Concat(startFrame, text("e"), startFrame))
		p := make([]byte, 1000)
		for got := 0; got < len(text(startSent))+len(text("e")); {
			n, err := conn.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(p); err == nil {
			t.Errorf("read %q", p[:n])
		}
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		conn.Write(text("e"))
		if n, err := conn.Read(p); err != nil || !bytes.Equal(p[:n], text(startSent)) {
			t.Errorf("read %q, %v", p[:n], err)
		}
	})
}

// TestR14_AHeldStartOverTLS holds that the interruption of a read does no harm to
// a connection with records.
func TestR14_AHeldStartOverTLS(t *testing.T) {
	client, server, _ := tlsPair(t)
	r := &rig{t: t}
	conn, _ := stream.New(r.config()).Wrap(server, nil)
	defer conn.Close()
	go io.Copy(io.Discard, client)
	write := func(b ...byte) {
		if _, err := client.Write(b); err != nil {
			t.Error(err)
		}
	}
	read := func(want []byte) {
		t.Helper()
		for p := make([]byte, 1000); len(want) > 0; {
			n, err := conn.Read(p)
			if err != nil || !bytes.HasPrefix(want, p[:n]) {
				t.Fatalf("read %q, %v; want %q", p[:n], err, want)
			}
			want = want[n:]
		}
	}
	write(startFrame...)
	read(text(startSent))
	for range 20 {
		write(slices.Concat(text("e"), startFrame)...)
		read(text("e"))
		go func() {
			time.Sleep(5 * time.Millisecond)
			conn.Write(text("e"))
		}()
		read(text(startSent))
	}
}

// TestR21_WhatIsHeldWithAStartIsBounded has a client go on sending behind a held start. It
// must meet a connection that is no longer read from, and not the gate's memory; and the
// stream must end when the backend closes without an answer.
func TestR21_WhatIsHeldWithAStartIsBounded(t *testing.T) {
	r := newRig(t, nil)
	r.held()
	const most = 64 << 20 // more than the buffers of sockets hold
	frame := audio(string(make([]byte, 32<<10)))
	_ = r.client.SetWriteDeadline(time.Now().Add(2 * time.Second))
	sent := 0
	for sent < most {
		n, err := r.client.Write(frame)
		sent += n
		if err != nil {
			break
		}
	}
	if sent >= most {
		t.Errorf("%d bytes are taken while the start is held", sent)
	}
	_ = r.backend.Close()
	select {
	case <-r.done:
	case <-time.After(10 * time.Second):
		r.guard.Close()
		t.Error("the stream does not end with the backend")
	}
}
