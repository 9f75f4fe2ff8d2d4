package stream_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientKey   = "CLIENTKEY"
	upstreamKey = "UPSTREAMKEY"
	startText   = "s 16K -a-general authorization=" + clientKey
	startSent   = "s 16K -a-general authorization=" + upstreamKey
	denied      = "s received illegal service authorization"
	unreadable  = "s received unreadable request"
	unreachable = "s can't connect to recognizer server"
	timedOut    = "e timeout occurred"
	cutText     = "p can't feed audio data to recognizer server"
)

// mask is that of a client that masks.
var mask = []byte{0x12, 0xF0, 0x00, 0x9A}

// rawFrame renders a frame, masked if there is a mask, with a length of 7, 16 or
// 64 bits or, if bits is 0, of as many as it needs.
func rawFrame(head byte, mask []byte, bits int, payload []byte) []byte {
	n := len(payload)
	if bits == 0 {
		bits = 64
		if n < 126 {
			bits = 7
		} else if n < 1<<16 {
			bits = 16
		}
	}
	masked := byte(0)
	if mask != nil {
		masked = 0x80
	}
	var out []byte
	switch bits {
	case 7:
		out = []byte{head, masked | byte(n)}
	case 16:
		out = binary.BigEndian.AppendUint16([]byte{head, masked | 126}, uint16(n))
	default:
		out = binary.BigEndian.AppendUint64([]byte{head, masked | 127}, uint64(n))
	}
	out = append(out, mask...)
	for i, b := range payload {
		if mask != nil {
			b ^= mask[i%4]
		}
		out = append(out, b)
	}
	return out
}

func text(s string) []byte     { return rawFrame(0x81, nil, 0, []byte(s)) }
func audio(p string) []byte    { return rawFrame(0x82, nil, 0, []byte("p"+p)) }
func binaryOf(p string) []byte { return rawFrame(0x82, nil, 0, []byte(p)) }

// got is a frame as another reader sees it.
type got struct {
	fin     bool
	opcode  byte
	masked  bool
	payload string
}

func textOf(s string) got  { return got{true, 1, false, s} }
func audioOf(s string) got { return got{true, 2, false, "p" + s} }

var errFrame = errors.New("broken frame")

// readFrame is a decoder of its own.
func readFrame(r io.Reader) (f got, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	f.fin, f.opcode, f.masked = head[0] >= 0x80, head[0]&15, head[1] >= 0x80
	n := uint64(head[1] & 0x7f)
	if wide := map[uint64]int{126: 2, 127: 8}[n]; wide > 0 {
		var b [8]byte
		if _, err := io.ReadFull(r, b[8-wide:]); err != nil {
			return f, errFrame
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	key := make([]byte, 4)
	if f.masked {
		if _, err := io.ReadFull(r, key); err != nil {
			return f, errFrame
		}
	}
	if head[0]&0x70 != 0 || n > 1<<26 {
		return f, errFrame
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return f, errFrame
	}
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	f.payload = string(payload)
	return f, nil
}

// rig is a client, a backend, and between them a guard and a proxy that copies
// as Caddy's does.
type rig struct {
	t       testing.TB
	guard   *stream.Guard
	client  net.Conn
	backend net.Conn
	fromC   *bufio.Reader // what the client reads
	fromB   *bufio.Reader // what the backend reads
	done    chan struct{} // closed when the proxy has ended
	hasty   bool          // the proxy does not await the first start command

	mu      sync.Mutex
	keys    []string // what Authorize saw
	faults  []policy.Reason
	refused []policy.Reason
	ends    int
	closes  int
}

// config is one that takes clientKey and those that begin with it, and is quick.
func (r *rig) config() stream.Config {
	locked := func(f func()) { r.mu.Lock(); defer r.mu.Unlock(); f() }
	return stream.Config{
		Rules:    dialect.AmiVoice.Stream,
		Upstream: credential.ReplaceWith(policy.NewSecret(upstreamKey)),
		Authorize: func(secret policy.Secret, fault *credential.Fault) (v stream.Verdict) {
			locked(func() {
				if fault != nil {
					r.faults = append(r.faults, fault.Reason)
					return
				}
				r.keys = append(r.keys, secret.Reveal())
				v.OK = strings.HasPrefix(secret.Reveal(), clientKey)
				if secret.Reveal() == "LIMITED" {
					v.Message = dialect.AmiVoice.Stream.Refusal(policy.StreamLimit)
				}
			})
			return v
		},
		Refused:     func(reason policy.Reason, _ string) { locked(func() { r.refused = append(r.refused, reason) }) },
		OnEnd:       func() { locked(func() { r.ends++ }) },
		OnClose:     func() { locked(func() { r.closes++ }) },
		StartTime:   10 * time.Second,
		CommandTime: 10 * time.Second,
		FrameTime:   150 * time.Millisecond,
		PartingTime: 200 * time.Millisecond,
	}
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

func socketPair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// newRig starts one. What is early came in one segment with the handshake.
func newRig(t testing.TB, change func(*stream.Config), early ...[]byte) *rig {
	t.Helper()
	return (&rig{t: t}).run(change, early...)
}

func (r *rig) run(change func(*stream.Config), early ...[]byte) *rig {
	t := r.t
	t.Helper()
	r.done = make(chan struct{})
	cfg := r.config()
	if change != nil {
		change(&cfg)
	}
	r.guard = stream.New(cfg)
	client, inner := socketPair(t)
	backend, proxy := socketPair(t)
	r.client, r.backend = client, backend
	r.fromC, r.fromB = bufio.NewReader(client), bufio.NewReader(backend)
	deadline := time.Now().Add(20 * time.Second)
	_, _ = client.SetDeadline(deadline), backend.SetDeadline(deadline)

	brw := bufio.NewReadWriter(bufio.NewReader(inner), bufio.NewWriter(inner))
	var all []byte
	for _, e := range early {
		all = append(all, e...)
	}
	if len(all) > 0 {
		r.send(all)
		if _, err := brw.Peek(min(len(all), 4096)); err != nil {
			t.Fatal(err)
		}
	}
	brw.WriteString(switching)
	go r.proxy(inner, proxy, brw)
	head := make([]byte, len(switching))
	if _, err := io.ReadFull(r.fromC, head); err != nil || string(head) != switching {
		t.Fatalf("the client reads %q, %v in place of the 101", head, err)
	}
	t.Cleanup(func() {
		client.Close()
		backend.Close()
		<-r.done
	})
	return r
}

// proxy is what Caddy's reverse proxy does after the handshake.
func (r *rig) proxy(inner net.Conn, back *net.TCPConn, brw *bufio.ReadWriter) {
	defer close(r.done)
	conn, brw := r.guard.Wrap(inner, brw)
	defer back.Close()
	defer conn.Close()
	if !r.hasty && !r.guard.Await() {
		return
	}
	if err := brw.Flush(); err != nil || brw.Reader.Buffered() != 0 {
		r.t.Errorf("%d bytes in the reader, error %v", brw.Reader.Buffered(), err)
	}
	errs := make(chan error, 2)
	var copying sync.WaitGroup
	defer copying.Wait()
	pump := func(dst, src net.Conn) {
		defer copying.Done()
		if _, err := io.CopyBuffer(dst, src, make([]byte, 32<<10)); err != nil {
			errs <- err
			return
		}
		errs <- dst.(interface{ CloseWrite() error }).CloseWrite()
	}
	copying.Add(2)
	go pump(back, conn)
	go pump(conn, back)
	for range 2 {
		if err := <-errs; err != nil {
			break
		}
	}
	conn.Close()
	back.Close()
}

func (r *rig) send(frames ...[]byte) {
	r.t.Helper()
	for _, f := range frames {
		if _, err := r.client.Write(f); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) answer(frames ...[]byte) {
	r.t.Helper()
	for _, f := range frames {
		if _, err := r.backend.Write(f); err != nil {
			r.t.Fatal(err)
		}
	}
}

// wantBackend and wantClient read frames, one for each that is wanted.
func (r *rig) wantBackend(frames ...got) { r.t.Helper(); r.want(r.fromB, "backend", frames) }
func (r *rig) wantClient(frames ...got)  { r.t.Helper(); r.want(r.fromC, "client", frames) }

func (r *rig) want(from *bufio.Reader, who string, frames []got) {
	r.t.Helper()
	for _, want := range frames {
		f, err := readFrame(from)
		if err != nil || f != want {
			r.t.Fatalf("the %s gets %+.200v, %v; want %+.200v", who, f, err, want)
		}
	}
}

// start has a session begin.
func (r *rig) start() {
	r.t.Helper()
	r.send(text(startText))
	r.wantBackend(textOf(startSent))
	r.answer(text("s"))
	r.wantClient(textOf("s"))
}

// wantEnd holds that the client gets this text and, since it does not go, a
// Close frame, and that all is torn down and no byte more has come to the backend.
func (r *rig) wantEnd(message string) {
	r.t.Helper()
	began := time.Now()
	r.wantClient(textOf(message), got{true, 8, false, "\x03\xf0"})
	if rest, err := io.ReadAll(r.fromC); err != nil && !isReset(err) || len(rest) > 0 {
		r.t.Errorf("the client gets %q, %v after the Close frame", rest, err)
	}
	r.wantSilence()
	select {
	case <-r.done:
	case <-time.After(5 * time.Second):
		r.t.Fatal("the proxy goes on")
	}
	if d := time.Since(began); d > time.Second {
		r.t.Errorf("it took %v", d)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closes != 1 {
		r.t.Errorf("OnClose was called %d times", r.closes)
	}
}

func isReset(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "reset") || errors.Is(err, io.EOF))
}

// wantSilence holds that no byte more comes to the backend.
func (r *rig) wantSilence() {
	r.t.Helper()
	if rest, err := io.ReadAll(r.fromB); err != nil && !isReset(err) || len(rest) > 0 {
		r.t.Fatalf("the backend gets %.200q, %v", rest, err)
	}
}

// over is how many sessions are.
func (r *rig) over() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ends
}

// wantRefused holds for what reason the client has been sent away.
func (r *rig) wantRefused(reason policy.Reason) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.refused) != 1 || r.refused[0] != reason {
		r.t.Errorf("refused for %v, want %v", r.refused, reason)
	}
}
