package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
)

func running(s *Set) (all []*upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.running {
		all = append(all, d)
	}
	return all
}

// drainServer refuses every request, and drains the upload with a set that no other server
// uses.
type drainServer struct {
	*httptest.Server
	set  *Set
	ends chan End // of each drain
}

func newDrainServer(t *testing.T, idle time.Duration, limits Limits) *drainServer {
	t.Helper()
	s := &drainServer{set: NewSet(func() bool { return false }), ends: make(chan End, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "refused")
		_ = rc.Flush()
		end, _ := s.set.drain(r.Body, rc, idle, limits)
		s.ends <- end
	}))
	t.Cleanup(s.Close)
	return s
}

// upload begins an upload and reads the first byte of the answer.
func (s *drainServer) upload(t *testing.T, size int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return conn
}

func (s *drainServer) wantEnd(t *testing.T, want End) {
	t.Helper()
	select {
	case got := <-s.ends:
		if got != want {
			t.Errorf("the drain ended as %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the drain goes on; want it to end as %q", want)
	}
}

func TestR16_DrainsAreBounded(t *testing.T) {
	t.Parallel()
	limits := Limits{MaxSize: 1 << 20, MaxNumber: 2}
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		s := newDrainServer(t, time.Minute, limits)
		if _, err := io.Copy(s.upload(t, 1<<20), io.LimitReader(zeros{}, 1<<20)); err != nil {
			t.Errorf("sending just as much as is read: %v", err)
		}
		s.wantEnd(t, whole)
	})
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		s := newDrainServer(t, time.Minute, limits)
		conn := s.upload(t, 1<<30)
		begun := time.Now()
		if n, err := io.Copy(conn, zeros{}); err == nil || n > 64<<20 {
			t.Errorf("%d bytes could be sent, %v", n, err)
		}
		s.wantEnd(t, tooLarge)
		if took := time.Since(begun); took > 30*time.Second { // less than the minute without bytes
			t.Errorf("the connection was closed after %v", took)
		}
	})
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		s := newDrainServer(t, time.Minute, limits)
		_ = s.upload(t, 1<<20).Close()
		s.wantEnd(t, gone)
	})
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		const idle = time.Second
		s := newDrainServer(t, idle, limits)
		conn := s.upload(t, 1<<20)
		for begun := time.Now(); time.Since(begun) < 3*idle/2; time.Sleep(idle / 20) {
			if _, err := conn.Write([]byte{0}); err != nil {
				t.Fatalf("cut while bytes keep coming: %v", err)
			}
		}
		if len(s.ends) > 0 {
			t.Fatal("the drain ended while bytes kept coming")
		}
		s.wantEnd(t, tooIdle)
	})
	t.Run("crowded", func(t *testing.T) {
		t.Parallel()
		s := newDrainServer(t, time.Minute, limits)
		silent, talks := s.upload(t, 1<<20), s.upload(t, 1<<20)
		testutil.Eventually(t, "two uploads are drained", func() bool { return len(running(s.set)) == 2 })
		sent := int64(time.Since(s.set.started))
		if _, err := talks.Write([]byte("some")); err != nil {
			t.Fatal(err)
		}
		for begun := int64(time.Since(s.set.started)); ; time.Sleep(time.Millisecond) {
			read := 0
			for _, d := range running(s.set) {
				if d.lastByte.Load() > sent {
					read++
				}
			}
			if read == 1 {
				break
			}
			if time.Duration(int64(time.Since(s.set.started))-begun) > 30*time.Second {
				t.Fatal("the bytes that were sent are not read")
			}
		}
		third := s.upload(t, 4)
		s.wantEnd(t, crowded)
		if _, err := io.Copy(io.Discard, silent); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the client that sent nothing: %v", err)
		}
		if _, err := third.Write([]byte("rest")); err != nil {
			t.Error(err)
		}
		s.wantEnd(t, whole)
		if _, err := talks.Write([]byte("more")); err != nil {
			t.Errorf("the client that sent a moment ago was cut: %v", err)
		}
		if n := len(running(s.set)); n != 1 {
			t.Errorf("%d drains are left, want 1", n)
		}
	})
	t.Run("exit", func(t *testing.T) {
		t.Parallel()
		s := newDrainServer(t, time.Minute, limits)
		var exiting atomic.Bool
		s.set.exiting = exiting.Load
		s.upload(t, 1<<20)
		testutil.Eventually(t, "an upload is drained", s.set.check)
		exiting.Store(true)
		s.wantEnd(t, atExit)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := s.Config.Shutdown(ctx); err != nil {
			t.Errorf("the server cannot shut down: %v", err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
