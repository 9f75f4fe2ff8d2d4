package stream_test

import (
	"bufio"
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
	"github.com/speechgate/speechgate/internal/wstest"
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

// mask is the masking key of a client that masks.
var mask = wstest.Mask()

// audio renders a command p in one frame, and audioOf is that frame as it is read.
func audio(p string) []byte { return wstest.RawBinary("p" + p) }

func audioOf(p string) wstest.Frame { return wstest.Binary("p" + p) }

// closed is the Close frame that follows a final message.
func closed() wstest.Frame { return wstest.Close(1008) }

// rig is a client, a backend, and between them a guard and a proxy. The proxy copies
// as Caddy's reverse proxy does.
type rig struct {
	t       testing.TB
	guard   *stream.Guard
	client  *wstest.Peer
	backend *wstest.Peer
	proxied net.Conn      // the connection as the proxy has it
	done    chan struct{} // closed when the proxy has ended
	hasty   bool          // the proxy does not call WaitAuthorized
	tcp     bool          // the connections are sockets, for a test outside of a bubble

	mu      sync.Mutex
	keys    []string // what Authorize saw
	faults  []string // what Authorize saw in place of a key
	refused []policy.Reason
	details []string // what Config.Refused got beside the reason
	closes  int
}

// setMode sets what the backend gets. A gate that does not replace keys has no key to mask.
func (s *settings) setMode(mode credential.Mode) {
	if s.Upstream.Mode = mode; mode != credential.Replace {
		s.Secrets = nil
	}
}

// config returns settings with short times. They authorize clientKey, and keys that
// begin with it.
func (r *rig) config() settings {
	locked := func(f func()) { r.mu.Lock(); defer r.mu.Unlock(); f() }
	return settings{
		CommandsConfig: stream.CommandsConfig{
			Rules:    dialect.AmiVoice.Commands(),
			Upstream: credential.ReplaceWith(policy.NewSecret(upstreamKey)),
			Secrets:  []policy.Secret{policy.NewSecret(upstreamKey)},
			Authorize: func(secret policy.Secret, fault *credential.Fault) (v stream.Verdict) {
				locked(func() {
					if fault != nil {
						r.faults = append(r.faults, fault.Error())
						return
					}
					r.keys = append(r.keys, secret.Reveal())
					v.OK = strings.HasPrefix(secret.Reveal(), clientKey)
					if secret.Reveal() == "LIMITED" {
						v.Message = dialect.AmiVoice.Commands().Refusal(policy.StreamLimit)
					}
				})
				return v
			},
		},
		Config: stream.Config{
			Refused: func(reason policy.Reason, detail string) {
				locked(func() { r.refused, r.details = append(r.refused, reason), append(r.details, detail) })
			},
			OnClose:     func() { locked(func() { r.closes++ }) },
			StartTime:   10 * time.Second,
			CommandTime: 10 * time.Second,
			FrameTime:   150 * time.Millisecond,
			PartingTime: 200 * time.Millisecond,
		},
	}
}

// settings configure a guard and its protocol.
type settings struct {
	stream.Config
	stream.CommandsConfig
}

func (s settings) guard() *stream.Guard {
	if s.Protocol == nil {
		s.Protocol = stream.NewCommands(s.CommandsConfig)
	}
	return stream.New(s.Config)
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

// newRig starts a rig. The bytes of early come in one segment with the handshake.
func newRig(t testing.TB, change func(*settings), early ...[]byte) *rig {
	t.Helper()
	return (&rig{t: t}).run(change, early...)
}

func (r *rig) run(change func(*settings), early ...[]byte) *rig {
	t := r.t
	t.Helper()
	r.done = make(chan struct{})
	cfg := r.config()
	if change != nil {
		change(&cfg)
	}
	r.guard = cfg.guard()
	client, inner := r.pair()
	backend, proxy := r.pair()
	r.client, r.backend = wstest.NewPeer(t, client), wstest.NewPeer(t, backend)

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
	if _, err := io.ReadFull(r.client.Reader, head); err != nil || string(head) != switching {
		t.Fatalf("the client reads %q, %v in place of the 101", head, err)
	}
	t.Cleanup(func() {
		client.Close()
		backend.Close()
		<-r.done
	})
	return r
}

func (r *rig) pair() (a, b net.Conn) {
	if r.tcp {
		return wstest.Pair(r.t)
	}
	return wstest.Pipe()
}

// proxy is what Caddy's reverse proxy does after the handshake.
func (r *rig) proxy(inner, back net.Conn, brw *bufio.ReadWriter) {
	defer close(r.done)
	conn, brw := r.guard.Wrap(inner, brw)
	defer back.Close()
	defer conn.Close()
	if !r.hasty && !r.guard.WaitAuthorized() {
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

func (r *rig) send(frames ...[]byte)   { r.t.Helper(); r.client.Send(frames...) }
func (r *rig) answer(frames ...[]byte) { r.t.Helper(); r.backend.Send(frames...) }

// wantBackend and wantClient read a frame for each of frames, and compare.
func (r *rig) wantBackend(frames ...wstest.Frame) { r.t.Helper(); r.backend.Want(frames...) }
func (r *rig) wantClient(frames ...wstest.Frame)  { r.t.Helper(); r.client.Want(frames...) }

// start begins a session.
func (r *rig) start() {
	r.t.Helper()
	r.send(wstest.RawText(startText))
	r.wantBackend(wstest.Text(startSent))
	r.answer(wstest.RawText("s"))
	r.wantClient(wstest.Text("s"))
}

// wantEnd checks how a stream ends. The client gets this text and, since it does not
// close, a Close frame. Both connections are closed, and the backend gets nothing more.
func (r *rig) wantEnd(message string) {
	r.t.Helper()
	began := time.Now()
	r.wantClient(wstest.Text(message), closed())
	if rest, err := io.ReadAll(r.client.Reader); err != nil && !wstest.Ended(err) || len(rest) > 0 {
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

// wantSilence checks that the backend gets nothing more.
func (r *rig) wantSilence() {
	r.t.Helper()
	if rest, err := io.ReadAll(r.backend.Reader); err != nil && !wstest.Ended(err) || len(rest) > 0 {
		r.t.Fatalf("the backend gets %.200q, %v", rest, err)
	}
}

// wantRefused checks the reason and the detail that Config.Refused got.
func (r *rig) wantRefused(reason policy.Reason, detail string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.refused) != 1 || r.refused[0] != reason || r.details[0] != detail {
		r.t.Errorf("refused for %v %q, want %v %q", r.refused, r.details, reason, detail)
	}
}
