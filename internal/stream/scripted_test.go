package stream_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

// scripted is a guard without a network. The test hands it what the client sends, piece
// by piece, and scripted keeps what comes out.
type scripted struct {
	rig
	script *script
	conn   net.Conn
	ended  error
	sent   bytes.Buffer // to the backend
	room   []byte
}

// script is a client's connection. Its reads return the pieces of in.
type script struct {
	in      [][]byte
	out     bytes.Buffer // to the client
	closed  bool
	expired bool
}

var errDry = errors.New("nothing more yet")

func (s *script) Read(p []byte) (int, error) {
	switch {
	case s.closed:
		return 0, net.ErrClosed
	case len(s.in) == 0 && s.expired:
		return 0, os.ErrDeadlineExceeded
	case len(s.in) == 0:
		return 0, errDry
	}
	n := copy(p, s.in[0])
	if s.in[0] = s.in[0][n:]; len(s.in[0]) == 0 {
		s.in = s.in[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	if s.closed {
		return 0, net.ErrClosed
	}
	return s.out.Write(p)
}

func (s *script) Close() error                      { s.closed = true; return nil }
func (s *script) LocalAddr() net.Addr               { return nil }
func (s *script) RemoteAddr() net.Addr              { return nil }
func (s *script) SetDeadline(time.Time) error       { return nil }
func (s *script) SetWriteDeadline(time.Time) error  { return nil }
func (s *script) SetReadDeadline(t time.Time) error { s.expired = !t.IsZero(); return nil }

func newScripted(t testing.TB, change func(*settings)) *scripted {
	f := &scripted{script: &script{}, room: make([]byte, 32<<10)}
	f.t = t
	cfg := f.config()
	cfg.StartTime, cfg.CommandTime = time.Hour, time.Hour
	if change != nil {
		change(&cfg)
	}
	f.guard = cfg.guard()
	f.conn, _ = f.guard.Wrap(f.script, nil)
	t.Cleanup(func() { f.conn.Close() })
	return f
}

// feed sends pieces from the client. After each piece it reads as the proxy does, until
// nothing more comes.
func (f *scripted) feed(pieces ...[]byte) {
	f.t.Helper()
	for _, piece := range pieces {
		if len(piece) == 0 {
			continue
		}
		f.script.in = append(f.script.in, bytes.Clone(piece))
		for f.ended == nil {
			n, err := f.conn.Read(f.room)
			f.sent.Write(f.room[:n])
			if errors.Is(err, errDry) {
				break
			}
			if n == 0 && err == nil {
				f.t.Fatal("a read yields nothing")
			}
			f.ended = err
		}
	}
}

// respond writes pieces as the proxy does when the backend sends them.
func (f *scripted) respond(pieces ...[]byte) {
	f.t.Helper()
	for _, piece := range pieces {
		whole := bytes.Clone(piece)
		n, err := f.conn.Write(piece)
		if !bytes.Equal(whole, piece) {
			f.t.Fatal("a write changes what it is given")
		}
		if f.ended == nil && (err != nil || n != len(piece)) {
			f.ended = err
		}
	}
}

// frames reads the frames in b.
func frames(t testing.TB, b []byte) (all []wstest.Frame) {
	t.Helper()
	for r := bytes.NewReader(b); ; {
		f, err := wstest.ReadFrame(r)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v after %+v", err, all)
		}
		all = append(all, f)
	}
}

func (f *scripted) wantAll(want []wstest.Frame) {
	f.t.Helper()
	all := frames(f.t, f.sent.Bytes())
	if len(all) != len(want) {
		f.t.Fatalf("the backend gets %+v, want %+v", all, want)
	}
	for i, w := range want {
		if all[i] != w {
			f.t.Fatalf("the backend gets %+v, want %+v", all[i], w)
		}
	}
}
