package stream_test

import (
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

func TestTheConnectionHasNoWayAroundTheGuard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		_, inner := wstest.Pipe()
		conn, brw := r.config().guard().Wrap(inner, nil)
		defer conn.Close()
		if _, ok := conn.(io.ReaderFrom); ok {
			t.Error("it has ReadFrom")
		}
		if _, ok := conn.(io.WriterTo); ok {
			t.Error("it has WriteTo")
		}
		if brw.Reader.Buffered() != 0 || brw.Writer.Buffered() != 0 {
			t.Error("there is something in the buffers")
		}
		if conn.LocalAddr().String() != inner.LocalAddr().String() || conn.RemoteAddr().String() != inner.RemoteAddr().String() {
			t.Error("its addresses are others")
		}
	})
}

func TestDeadlinesOfTheProxysOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		client, inner := wstest.Pipe()
		conn, _ := r.config().guard().Wrap(inner, nil)
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 1000)
		if _, err := conn.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if err := conn.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		client.Write(startFrame)
		if n, err := conn.Read(p); err != nil || string(p[:n]) != string(wstest.RawText(startSent)) {
			t.Errorf("read %q, %v", p[:n], err)
		}
	})
}

func TestAConnectionWithoutHalvesCannotBeHalfClosed(t *testing.T) {
	t.Parallel()
	f := newScripted(t, nil)
	if err := f.conn.(interface{ CloseWrite() error }).CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite: %v", err)
	}
}

func TestR14_ACutOverTLS(t *testing.T) {
	t.Parallel()
	t.Run("of a client that reads", func(t *testing.T) {
		t.Parallel()
		r := &rig{t: t}
		client, inner, _ := wstest.TLSPair(t)
		g := r.config().guard()
		conn, _ := g.Wrap(inner, nil)
		go conn.Read(make([]byte, 100))
		g.Cut("")
		all, err := io.ReadAll(client)
		if want := slices.Concat(wstest.RawText(cutText), []byte{0x88, 2, 3, 0xf0}); err != nil || string(all) != string(want) {
			t.Errorf("the client gets %q, %v", all, err)
		}
	})
	t.Run("of a client that does not", func(t *testing.T) {
		t.Parallel()
		r := &rig{t: t}
		_, inner, _ := wstest.TLSPair(t)
		g := r.config().guard()
		conn, _ := g.Wrap(inner, nil)
		ended := writeUntilBlocked(conn, wstest.RawBinary(string(make([]byte, 64<<10))))
		g.Cut("")
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a read goes on")
		}
		wantSoon(t, "the connection is closed", ended)
	})
}

func TestAnIdleStreamIsSmall(t *testing.T) { //nolint:paralleltest // measures memory
	const count, limit = 1000, 4 << 10
	all := make([]*scripted, count)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	room := make([]byte, 32<<10)
	before := heap()
	for i := range all {
		f := newScripted(t, nil)
		all[i], f.room = f, room
		f.feed(startFrame, audio("some")[:3], audio("some")[3:])
		f.respond(wstest.RawText("s"), wstest.RawText("S 100")[:3], wstest.RawText("S 100")[3:])
		f.sent, f.script.out, f.keys = zero.sent, zero.script.out, nil
	}
	if each := int64(heap()-before) / count; each > limit {
		t.Errorf("a stream keeps %d bytes after its first frames, want at most %d", each, limit)
	} else {
		t.Logf("a stream keeps %d bytes after its first frames, the test's own included", each)
	}
	runtime.KeepAlive(all)
}

var zero = scripted{script: &script{}}
