package stream_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

func TestR14_ACutWorksInEveryState(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(r *rig){
		"before all":             func(*rig) {},
		"within a command":       func(r *rig) { r.send(startFrame[:9]) },
		"before the answer to s": func(r *rig) { r.send(startFrame); r.wantBackend(wstest.Text(startSent)) },
		"in a session":           func(r *rig) { r.start() },
		"within audio":           func(r *rig) { r.start(); r.send(audio("x")[:2]) },
		"after e":                func(r *rig) { r.start(); r.send(wstest.RawText("e")); r.wantBackend(wstest.Text("e")) },
		"between sessions": func(r *rig) {
			r.start()
			r.send(wstest.RawText("e"))
			r.wantBackend(wstest.Text("e"))
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
		},
		"within a text that is held": func(r *rig) { r.start(); r.answer(wstest.RawText("A {}")[:3]) },
		"within a header":            func(r *rig) { r.start(); r.answer(wstest.RawBinary("xyz")[:1]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				before(r)
				synctest.Wait()
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() { r.guard.Cut("") })
				}
				all.Wait()
				go r.client.Write(audio("late"))
				go r.backend.Write(wstest.RawText("late"))
				r.wantEnd(cutText)
				r.guard.Cut("again")
				r.mu.Lock()
				defer r.mu.Unlock()
				if len(r.refused) != 0 {
					t.Errorf("refused for %v", r.refused)
				}
			})
		})
	}
}

// In TestR14_ACutWhileAStartIsJudged, the keystore accepts a start command after the
// stream has been cut. No session may begin.
func TestR14_ACutWhileAStartIsJudged(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(r *rig){
		"the first": func(*rig) {},
		"a later one": func(r *rig) {
			r.start()
			r.send(wstest.RawText("e"))
			r.wantBackend(wstest.Text("e"))
			r.answer(wstest.RawText("e"))
			r.wantClient(wstest.Text("e"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				judging, judged := make(chan struct{}), make(chan struct{})
				var slow atomic.Bool
				r := newRig(t, func(cfg *settings) {
					judge := cfg.Authorize
					cfg.Authorize = func(secret policy.Secret, fault *credential.Fault) stream.Verdict {
						if slow.Load() {
							close(judging)
							<-judged
						}
						return judge(secret, fault)
					}
				})
				before(r)
				slow.Store(true)
				r.send(startFrame, audio("x"))
				<-judging
				r.guard.Cut("")
				r.wantClient(wstest.Text(cutText))
				close(judged)
				r.wantClient(closed())
				r.wantSilence()
				<-r.done
			})
		})
	}
	t.Run("the protocol", func(t *testing.T) {
		t.Parallel()
		var commands *stream.Commands
		commands = stream.NewCommands(stream.CommandsConfig{
			Rules: dialect.AmiVoice.Commands(),
			Authorize: func(policy.Secret, *credential.Fault) stream.Verdict {
				commands.End()
				return stream.Verdict{OK: true}
			},
		})
		if step := commands.FromClient(startText); step.Action != stream.Refuse || step.Text != "" {
			t.Errorf("the start command gets %+v", step)
		}
		if action := commands.Accepts(wsframe.Binary); action != stream.Refuse {
			t.Errorf("audio gets the action %d", action)
		}
	})
}

// cutting is an API whose stream is cut while its first message is judged. The API then
// accepts the message.
type cutting struct {
	firstMessage
	guard *stream.Guard
}

func (p *cutting) FromClient(text string) stream.Step {
	p.guard.Cut("")
	return p.firstMessage.FromClient(text)
}

func TestR14_AMessageThatIsAcceptedAfterACutStaysHere(t *testing.T) {
	t.Parallel()
	p := &cutting{firstMessage: firstMessage{Handshake: newHandshake(new(dialect.HandshakeRules), credential.Replace)}}
	f := newScripted(t, func(cfg *settings) { cfg.Protocol = p })
	p.guard = f.guard
	f.feed(wstest.RawText(`{"api_key":"` + clientKey + `"}`))
	if f.sent.Len() > 0 || f.ended == nil {
		t.Errorf("the backend gets %+v, %v", frames(t, f.sent.Bytes()), f.ended)
	}
}

// TestR14_ACutDoesNotWaitForTheKeystore cuts a stream while the keystore does not answer.
func TestR14_ACutDoesNotWaitForTheKeystore(t *testing.T) {
	t.Parallel()
	judging, closedConn := make(chan struct{}), make(chan struct{})
	r := (&rig{t: t, tcp: true}).run(func(cfg *settings) {
		cfg.Authorize = func(policy.Secret, *credential.Fault) stream.Verdict {
			close(judging)
			select {
			case <-closedConn:
			case <-time.After(20 * time.Second):
				t.Error("the connection is not closed")
			}
			return stream.Verdict{OK: true}
		}
		cfg.OnClose = func() { close(closedConn) }
	})
	r.send(startFrame)
	<-judging
	r.guard.Cut("")
	r.wantClient(wstest.Text(cutText))
	if rest, err := io.ReadAll(r.client.Reader); err != nil && !wstest.Ended(err) || len(rest) > 0 {
		t.Errorf("the client gets %q, %v", rest, err)
	}
	r.wantSilence()
	<-r.done
}

func TestR14_ACutBeforeWrap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		g := r.config().guard()
		g.Cut("p own words")
		client, inner := wstest.Pipe()
		conn, _ := g.Wrap(inner, nil)
		if f, err := wstest.ReadFrame(client); err != nil || f != wstest.Text("p own words") {
			t.Errorf("the client gets %+v, %v", f, err)
		}
		client.Close()
		if n, err := conn.Read(make([]byte, 10)); n != 0 || err == nil {
			t.Errorf("read %d, %v", n, err)
		}
	})
}

func TestR14_ACutWithinAFrameOfTheBackends(t *testing.T) {
	t.Parallel()
	whole := wstest.RawBinary("in two pieces")
	t.Run("that is completed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			r.answer(whole[:5])
			if _, err := r.client.Reader.Peek(5); err != nil {
				t.Fatal(err)
			}
			r.guard.Cut("")
			synctest.Wait()
			r.answer(append(bytes.Clone(whole[5:]), wstest.RawText("late")...))
			r.wantClient(wstest.Of(true, 2, false, "in two pieces"))
			r.wantEnd(cutText)
		})
	})
	t.Run("that is a message in pieces", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			r.answer(wstest.Raw(0x02, nil, 0, []byte("one")))
			r.wantClient(wstest.Of(false, 2, false, "one"))
			r.guard.Cut("")
			synctest.Wait()
			r.answer(wstest.Raw(0x80, nil, 0, []byte("two")), wstest.RawBinary("late"))
			r.wantClient(wstest.Of(true, 0, false, "two"))
			r.wantEnd(cutText)
		})
	})
	t.Run("that is not", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			r.answer(whole[:5])
			if _, err := r.client.Reader.Peek(5); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r.guard.Cut("")
			if rest, err := io.ReadAll(r.client.Reader); !bytes.Equal(rest, whole[:5]) || err != nil && !wstest.Ended(err) {
				t.Errorf("the client gets %q, %v", rest, err)
			}
			r.wantSilence()
			<-r.done
			if d := time.Since(began); d > 800*time.Millisecond {
				t.Errorf("it took %v", d)
			}
		})
	})
}

// These two tests use sockets. In a bubble, a cut waits for the lock of the write that blocks, and the
// clock of a bubble does not advance while a goroutine waits for a lock.
func TestR14_ACutOfAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := (&rig{t: t, tcp: true}).run(nil)
	r.start()
	_ = r.client.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	ended := writeUntilBlocked(r.backend, wstest.RawBinary(string(make([]byte, 64<<10))))
	r.guard.Cut("")
	wantSoon(t, "the stream ends", r.done)
	wantSoon(t, "the backend's connection is closed", ended)
}

// In TestR14_ACutOfABackendThatDoesNotRead, the proxy blocks in its write, and only
// OnClose reaches the proxy.
func TestR14_ACutOfABackendThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, tcp: true}
	r.run(func(cfg *settings) { cfg.OnClose = func() { r.backend.Close() } })
	r.start()
	ended := writeUntilBlocked(r.client, audio(string(make([]byte, 64<<10))))
	r.guard.Cut("")
	r.wantClient(wstest.Text(cutText))
	wantSoon(t, "the stream ends", r.done)
	wantSoon(t, "the client's connection is closed", ended)
}

// writeUntilBlocked writes the frame again and again. It returns when a write blocks, and ended is
// closed when a write returns an error.
func writeUntilBlocked(to io.Writer, frame []byte) (ended <-chan struct{}) {
	done := make(chan struct{})
	var written atomic.Int64
	go func() {
		defer close(done)
		for {
			if _, err := to.Write(frame); err != nil {
				return
			}
			written.Add(1)
		}
	}()
	// A socket does not tell that its buffers are full. Only time shows that a write blocks.
	for last := int64(-1); last != written.Load(); time.Sleep(50 * time.Millisecond) {
		last = written.Load()
	}
	return done
}

func wantSoon(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("still not: %s", what)
	}
}

func TestAServersShutdownClosesTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		g := r.config().guard()
		client, inner := wstest.Pipe()
		conn, _ := g.Wrap(inner, nil)
		reading := make(chan error)
		go func() {
			_, err := conn.Read(make([]byte, 10))
			reading <- err
		}()
		if _, err := conn.Write(wstest.Raw(0x88, nil, 0, []byte{3, 233})); err != nil {
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
		if f, err := wstest.ReadFrame(client); err != nil || f != wstest.Of(true, 8, false, "\x03\xe9") {
			t.Errorf("the client gets %+v, %v", f, err)
		}
		if err := conn.Close(); err != nil || r.closes != 1 {
			t.Errorf("closed again: %v, OnClose %d times", err, r.closes)
		}
	})
}
