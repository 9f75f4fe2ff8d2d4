package stream_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/wstest"
)

// unset removes all times and limits from the settings, so that the defaults count.
func unset(cfg *settings) {
	cfg.StartTime, cfg.CommandTime, cfg.FrameTime, cfg.PartingTime = 0, 0, 0, 0
}

// wantEndAfter checks that the connection is closed after this time, counted from began.
func (r *rig) wantEndAfter(began time.Time, want time.Duration) {
	r.t.Helper()
	<-r.done
	if took := time.Since(began); took != want {
		r.t.Errorf("the stream ends after %s, want %s", took, want)
	}
}

func TestTheDefaultTimesAreTheOnesOfTheDocs(t *testing.T) {
	t.Parallel()
	const parting = 900 * time.Millisecond
	t.Run("StartTime and PartingTime", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			r := newRig(t, unset)
			if err := errors.Join(r.client.SetDeadline(time.Time{}), r.backend.SetDeadline(time.Time{})); err != nil {
				t.Fatal(err)
			}
			r.wantClient(wstest.Text(timedOut))
			if took := time.Since(began); took != time.Minute {
				t.Errorf("the first command is waited for %s", took)
			}
			r.wantClient(closed())
			r.wantEndAfter(began, time.Minute+parting)
		})
	})
	t.Run("CommandTime", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, unset)
			r.start()
			began := time.Now()
			r.send(wstest.RawText("e")[:1])
			r.wantClient(wstest.Text(unreadable))
			if took := time.Since(began); took != 30*time.Second {
				t.Errorf("a command is waited for %s", took)
			}
			<-r.done
		})
	})
	t.Run("FrameTime", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, unset)
			r.start()
			r.answer(wstest.RawBinary("xyz")[:3])
			synctest.Wait()
			began := time.Now()
			r.guard.Cut("")
			r.wantEndAfter(began, 500*time.Millisecond)
		})
	})
}

// The backend's message is not waited for when PartingTime is over.
func TestR14_AnEndTakesPartingTimeAtMost(t *testing.T) {
	t.Parallel()
	t.Run("within a message of the backend", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(cfg *settings) { cfg.FrameTime, cfg.PartingTime = time.Hour, time.Second })
			r.start()
			r.answer(wstest.RawBinary("xyz")[:3])
			synctest.Wait()
			began := time.Now()
			r.guard.Cut("")
			r.wantEndAfter(began, time.Second)
		})
	})
	for name, rules := range keyedStreams() {
		t.Run("of a client that does not close, "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(cfg *settings) { cfg.Protocol, cfg.PartingTime = newHandshake(rules, credential.Drop), time.Second })
				began := time.Now()
				r.guard.Cut("")
				r.wantEndAfter(began, time.Second)
			})
		})
	}
}

// A read that a cut interrupts returns when the connection is closed, and does not blame the
// proxy's deadline.
func TestR14_AReadThatACutInterruptsReturnsAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		client, inner := wstest.Pipe()
		g := r.config().guard()
		conn, _ := g.Wrap(inner, nil)
		go func() {
			time.Sleep(time.Second)
			g.Cut("")
			synctest.Wait()
			// While the stream is being ended, the proxy's deadlines count for nothing.
			if err := errors.Join(conn.SetReadDeadline(time.Time{}), conn.SetWriteDeadline(time.Now())); err != nil {
				t.Error(err)
			}
		}()
		began := time.Now()
		n, err := conn.Read(make([]byte, 10))
		if n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
			t.Errorf("read %d, %v", n, err)
		}
		if took := time.Since(began); took != time.Second+200*time.Millisecond {
			t.Errorf("the read returns after %s", took)
		}
		wstest.NewPeer(t, client).Want(wstest.Text(cutText), closed())
	})
}

func TestTheProxysWriteDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		_, inner := wstest.Pipe()
		conn, _ := r.config().guard().Wrap(inner, nil)
		defer conn.Close()
		if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		for range 2 {
			if _, err := conn.Write(wstest.RawBinary("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: %v", err)
			}
		}
	})
}

// An answer of the backend interrupts the read of a client whose start command waits. The
// read deadline that the proxy has set stays.
func TestR14_AnInterruptedReadKeepsTheProxysDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		client, inner := wstest.Pipe()
		conn, _ := r.config().guard().Wrap(inner, nil)
		defer conn.Close()
		p := make([]byte, 1000)
		read := func(want []byte) {
			t.Helper()
			if _, err := io.ReadFull(conn, p[:len(want)]); err != nil || string(p[:len(want)]) != string(want) {
				t.Fatalf("read %q, %v", p[:len(want)], err)
			}
		}
		client.Write(startFrame)
		read(wstest.RawText(startSent))
		began := time.Now()
		if err := conn.SetReadDeadline(began.Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			client.Write(wstest.RawText("e"))
			client.Write(startFrame)
			read(wstest.RawText("e"))
			go func() {
				time.Sleep(time.Second)
				conn.Write(wstest.RawText("e"))
			}()
			read(wstest.RawText(startSent))
		}
		if n, err := conn.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("read %d, %v after %s", n, err, time.Since(began))
		}
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		client.Write(audio("x"))
		read(audio("x"))
	})
}

// Wrap writes what is buffered, and releases the buffers. If the write fails, the stream
// fails.
func TestWrapTakesTheBuffersOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		client, inner := wstest.Pipe()
		_ = client.Reset()
		brw := bufio.NewReadWriter(bufio.NewReader(inner), bufio.NewWriter(inner))
		brw.WriteString(switching)
		conn, _ := r.config().guard().Wrap(inner, brw)
		defer conn.Close()
		if brw.Reader.Size() != 0 || brw.Writer.Size() != 0 {
			t.Errorf("the buffers of %d and %d bytes are kept", brw.Reader.Size(), brw.Writer.Size())
		}
		_, want := inner.Write([]byte("x"))
		if _, err := conn.Write(wstest.RawText("s")); err == nil || !errors.Is(err, want) {
			t.Errorf("a write returns %v, want %v", err, want)
		}
		if _, err := conn.Read(make([]byte, 10)); err == nil || !errors.Is(err, want) {
			t.Errorf("a read returns %v, want %v", err, want)
		}
	})
}
