package stream_test

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/wstest"
)

// held ends a session, and sends the next start command before the backend answers.
func (r *rig) held(after ...[]byte) {
	r.t.Helper()
	r.start()
	r.send(slices.Concat(wstest.RawText("e"), startFrame, slices.Concat(after...)))
	r.wantBackend(wstest.Text("e"))
}

// patient is a protocol whose message goes on waiting when the stream has ended.
type patient struct{ *stream.Commands }

func (patient) End() {}

// keysSeen returns how many keys have been judged.
func (r *rig) keysSeen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

func TestR14_AStartBeforeTheEndIsAnsweredIsHeldAndJudgedThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.held(audio("one"), wstest.Raw(0x02, nil, 0, []byte("ptwo")), wstest.Raw(0x80, nil, 0, []byte("three")), wstest.RawText("e"))
		r.answer(wstest.RawText(`A {"text":"first"}`))
		r.wantClient(wstest.Text(`A {"text":"first"}`))
		if n := r.keysSeen(); n != 1 {
			t.Errorf("%d keys have been judged before the answer", n)
		}
		r.answer(wstest.RawText("e"))
		r.wantClient(wstest.Text("e"))
		r.wantBackend(wstest.Text(startSent), audioOf("one"), audioOf("two"), audioOf("three"), wstest.Text("e"))
		r.answer(wstest.RawText("s"), wstest.RawText("e"))
		r.wantClient(wstest.Text("s"), wstest.Text("e"))
		if n := r.keysSeen(); n != 2 {
			t.Errorf("%d keys have been judged", n)
		}
	})
	t.Run("three sessions at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			session := slices.Concat(startFrame, audio("x"), wstest.RawText("e"))
			r.send(bytes.Repeat(session, 3))
			for range 3 {
				r.wantBackend(wstest.Text(startSent), audioOf("x"), wstest.Text("e"))
				r.answer(wstest.RawText("s"), wstest.RawText("e"))
				r.wantClient(wstest.Text("s"), wstest.Text("e"))
			}
		})
	})
	t.Run("and refused then", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			r.send(wstest.RawText("e"), wstest.RawText("s authorization=OTHER"), audio("x"))
			r.wantBackend(wstest.Text("e"))
			r.answer(wstest.RawText("A {}"), wstest.RawText("e"))
			r.wantClient(wstest.Text("A {}"), wstest.Text("e"))
			r.wantEnd(denied)
		})
	})
	t.Run("after an end that failed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.held()
			r.answer(wstest.RawText("e timeout occurred"))
			r.wantClient(wstest.Text("e timeout occurred"))
			r.wantBackend(wstest.Text(startSent))
		})
	})
	t.Run("with what is out of turn after it", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.held(startFrame)
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
			r.wantEnd(unreadable)
		})
	})
}

func TestR14_HeldStartsAreReadHoweverTheyAreCut(t *testing.T) {
	t.Parallel()
	later := slices.Concat(
		wstest.Raw(0x01, mask, 0, []byte(startText[:9])), wstest.Raw(0x80, mask, 0, []byte(startText[9:])),
		wstest.Raw(0x82, mask, 16, []byte("pAB")), wstest.Raw(0x89, mask, 0, []byte("ping")), wstest.Raw(0x81, nil, 0, []byte("e")))
	want := []wstest.Frame{wstest.Text(startSent), wstest.Text("e"), wstest.Of(true, 9, true, "ping"), wstest.Of(true, 1, true, startSent), wstest.Of(true, 2, true, "pAB"), wstest.Text("e")}
	for at := range len(later) {
		for answered := range 3 {
			f := newScripted(t, nil)
			f.feed(startFrame)
			f.respond(wstest.RawText("s"))
			f.feed(slices.Concat(wstest.RawText("e"), later[:at]))
			if answered == 0 {
				f.respond(wstest.RawText("e")[:1])
			}
			if answered == 1 {
				f.respond(wstest.RawText("e"))
			}
			f.feed(later[at:])
			switch answered {
			case 0:
				f.respond(wstest.RawText("e")[1:])
			case 2:
				f.respond(wstest.RawText("e"))
			}
			f.feed(wstest.Raw(0x8A, mask, 0, nil)) // in this read, the command that waited goes on
			sent := frames(t, f.sent.Bytes())
			sent = slices.DeleteFunc(sent, func(g wstest.Frame) bool { return g.Opcode == 10 })
			data := func(all []wstest.Frame) []wstest.Frame {
				return slices.DeleteFunc(slices.Clone(all), func(g wstest.Frame) bool { return g.Opcode > 8 })
			}
			// Only a Ping may overtake what waits.
			if !slices.Equal(data(sent), data(want)) || len(sent) != len(want) {
				t.Fatalf("cut at %d: the backend gets %+v", at, sent)
			}
		}
	}
}

func TestR14_NothingStopsWhileAStartIsHeld(t *testing.T) {
	t.Parallel()
	t.Run("control frames", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.held(audio("x"), wstest.Raw(0x89, mask, 0, []byte("1")), audio("y"))
			r.wantBackend(wstest.Of(true, 9, true, "1"))
			r.send(wstest.Raw(0x8A, mask, 0, []byte("2")))
			r.wantBackend(wstest.Of(true, 10, true, "2"))
			r.answer(wstest.Raw(0x89, nil, 0, []byte("3")), wstest.RawText("e"))
			r.wantClient(wstest.Of(true, 9, false, "3"), wstest.Text("e"))
			r.wantBackend(wstest.Text(startSent), audioOf("x"), audioOf("y"))
		})
	})
	t.Run("a Close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.held(audio("x"), wstest.Raw(0x88, mask, 0, []byte{3, 232}))
			r.wantBackend(wstest.Of(true, 8, true, "\x03\xe8"))
			r.answer(wstest.RawText("e"), wstest.Raw(0x88, nil, 0, []byte{3, 232}))
			r.wantClient(wstest.Text("e"), wstest.Of(true, 8, false, "\x03\xe8"))
			r.client.Close()
			r.wantSilence()
			if n := r.keysSeen(); n != 1 {
				t.Errorf("%d keys have been judged", n)
			}
		})
	})
	t.Run("a Close and a half-close", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.held(wstest.Raw(0x88, mask, 0, []byte{3, 232}))
			r.client.Conn.(*wstest.PipeConn).CloseWrite()
			r.wantBackend(wstest.Of(true, 8, true, "\x03\xe8"))
			r.wantSilence() // and the backend has not answered the end yet
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
		})
	})
	for name, after := range map[string][]byte{
		"a cut": nil, "a cut within audio": audio("xyz")[:3], "a cut when no more is held": audio(string(make([]byte, 100_000))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *settings) { cfg.Protocol = patient{stream.NewCommands(cfg.CommandsConfig)} })
				r.start()
				go r.client.Write(slices.Concat(wstest.RawText("e"), startFrame, after))
				r.wantBackend(wstest.Text("e"))
				synctest.Wait()
				r.guard.Cut("")
				r.wantClient(wstest.Text(cutText), closed())
				r.wantSilence()
				<-r.done
				if n := r.keysSeen(); n != 1 {
					t.Errorf("%d keys have been judged", n)
				}
			})
		})
	}
	t.Run("a client that vanishes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.held()
			r.client.Conn.(*wstest.PipeConn).Reset()
			r.client.Close()
			<-r.done
		})
	})
	t.Run("a client that half-closes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.held(audio("x"), wstest.RawText("e"))
			r.client.Conn.(*wstest.PipeConn).CloseWrite()
			synctest.Wait()
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
			r.wantBackend(wstest.Text(startSent), audioOf("x"), wstest.Text("e"))
			r.wantSilence()
			r.answer(wstest.RawText("s"), wstest.RawText("e"))
			r.wantClient(wstest.Text("s"), wstest.Text("e"))
		})
	})
	t.Run("a client that half-closes, before a backend that never answers", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(cfg *settings) { cfg.CommandTime = 100 * time.Millisecond })
			r.held()
			r.client.Conn.(*wstest.PipeConn).CloseWrite()
			<-r.done
			r.wantRefused(malformed, commandTooLate)
		})
	})
	t.Run("a backend that is slow, before a client that fills the queue", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(cfg *settings) { cfg.CommandTime = 100 * time.Millisecond })
			chunk := string(make([]byte, 100_000))
			r.held(audio(chunk))
			time.Sleep(10 * time.Second)
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
			r.wantBackend(wstest.Text(startSent), audioOf(chunk))
		})
	})
	t.Run("more audio than is held", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			chunk := string(make([]byte, 4096))
			go func() {
				r.client.Write(slices.Concat(wstest.RawText("e"), startFrame))
				for range 1000 {
					r.client.Write(audio(chunk))
				}
				r.client.Write(wstest.RawText("e"))
			}()
			r.wantBackend(wstest.Text("e"))
			synctest.Wait()
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
			r.wantBackend(wstest.Text(startSent))
			for range 1000 {
				r.wantBackend(audioOf(chunk))
			}
			r.wantBackend(wstest.Text("e"))
		})
	})
	t.Run("the proxy's deadlines", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := &rig{t: t}
			client, inner := wstest.Pipe()
			conn, _ := r.config().guard().Wrap(inner, nil)
			defer conn.Close()
			client.Write(slices.Concat(startFrame, wstest.RawText("e"), startFrame))
			p := make([]byte, 1000)
			for got := 0; got < len(wstest.RawText(startSent))+len(wstest.RawText("e")); {
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
			conn.Write(wstest.RawText("e"))
			if n, err := conn.Read(p); err != nil || !bytes.Equal(p[:n], wstest.RawText(startSent)) {
				t.Errorf("read %q, %v", p[:n], err)
			}
		})
	})
}

// TestR14_AHeldStartOverTLS checks that TLS survives the interruption of a read, which
// can come in the middle of a record.
func TestR14_AHeldStartOverTLS(t *testing.T) {
	t.Parallel()
	client, server, _ := wstest.TLSPair(t)
	r := &rig{t: t}
	conn, _ := r.config().guard().Wrap(server, nil)
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
	read(wstest.RawText(startSent))
	for range 20 {
		write(slices.Concat(wstest.RawText("e"), startFrame)...)
		read(wstest.RawText("e"))
		go func() {
			time.Sleep(5 * time.Millisecond)
			conn.Write(wstest.RawText("e"))
		}()
		read(wstest.RawText(startSent))
	}
}

// In TestR21_WhatIsHeldWithAStartIsBounded, a client goes on sending behind a start
// command that waits. The guard must stop reading, so that the client's writes block. The
// stream must end when the backend closes without an answer.
func TestR21_WhatIsHeldWithAStartIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.held()
		const most = 64 << 20 // more than all buffers on the way hold
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
	})
}
