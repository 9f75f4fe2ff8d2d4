package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/policy"
)

const (
	demoFrame      = 4096                   // bytes of audio in a frame. The client libraries of the API send as many.
	demoFrameEvery = 20 * time.Millisecond  // the time between two frames. It is faster than speech: a frame has 128 ms of audio.
	demoBefore     = 500 * time.Millisecond // from the start of the stream to the revocation of its key
	demoStreamTime = 10 * time.Second       // the longest time of a stream
	wavHeader      = 44                     // bytes of the recording before its samples
)

// demoStream is the client of a live stream.
type demoStream struct {
	d    *demo
	conn net.Conn
	err  error // the first error; after it, the methods do nothing
}

// stream opens a live stream of AmiVoice's API, and shows the handshake.
func (d *demo) stream(ctx context.Context) *demoStream {
	d.sent("GET /v1/   Upgrade: websocket   (a handshake has no key)")
	return d.dialStream(ctx, "/v1/", "")
}

// openStream opens a live stream with a key in the header of the handshake, and shows it. The scheme
// may be empty.
func (d *demo) openStream(ctx context.Context, path, scheme string, key policy.Secret) *demoStream {
	if scheme != "" {
		scheme += " "
	}
	d.sent("GET " + path + "   Upgrade: websocket   Authorization: " + scheme + brief(key))
	return d.dialStream(ctx, path, scheme+key.Reveal())
}

// dialStream opens a live stream, and shows the answer. The handshake has this Authorization, unless
// it is empty.
func (d *demo) dialStream(ctx context.Context, path, authorization string) *demoStream {
	dialer := ws.Dialer{Timeout: demoStreamTime}
	if authorization != "" {
		dialer.Header = ws.HandshakeHeaderHTTP{"Authorization": {authorization}}
	}
	conn, early, _, err := dialer.Dial(ctx, strings.Replace(d.gate, "http", "ws", 1)+path)
	s := &demoStream{d: d, conn: conn, err: err}
	if err == nil {
		if early != nil { // the first message may have come with the answer
			s.conn = earlyConn{conn, early}
		}
		s.err = conn.SetDeadline(time.Now().Add(demoStreamTime))
	}
	d.got(s.orError("101 Switching Protocols"))
	return s
}

// orError returns text, or the error of the stream. If the handshake was refused, the error is the
// status of the answer.
func (s *demoStream) orError(text string) string {
	var refused ws.StatusError
	switch {
	case errors.As(s.err, &refused):
		return strconv.Itoa(int(refused)) + " " + http.StatusText(int(refused))
	case s.err != nil:
		return s.err.Error()
	}
	return text
}

// close closes the connection, and waits until the gate has no live stream.
func (s *demoStream) close() {
	if s.conn == nil {
		return
	}
	_ = s.conn.Close()
	for begun := time.Now(); s.live() > 0 && time.Since(begun) < demoWait; {
		time.Sleep(demoFrameEvery)
	}
}

// live returns how many live streams the gateway has.
func (*demoStream) live() int {
	a, err := app.Of(caddy.ActiveContext())
	if err != nil {
		return 0
	}
	return len(a.Streams().List())
}

// text sends a text message: a command.
func (s *demoStream) text(command string) {
	if s.err == nil {
		s.err = wsutil.WriteClientText(s.conn, []byte(command))
	}
}

// audio sends a frame of audio.
func (s *demoStream) audio(piece []byte) error {
	return wsutil.WriteClientBinary(s.conn, append([]byte{dialect.AmiVoice.Commands().Audio}, piece...))
}

// answer reads the next message. It returns "" after an error.
func (s *demoStream) answer() string {
	if s.err != nil {
		return ""
	}
	var text []byte
	text, s.err = wsutil.ReadServerText(s.conn)
	return string(text)
}

// start sends a start command with this key, and shows it. It checks that the answer is
// want, and that the log has this reason.
func (s *demoStream) start(key policy.Secret, want string, reason policy.Reason, why string) {
	rules := dialect.AmiVoice.Commands()
	command := rules.Start + " 16K -a-general " + rules.Pair + "="
	s.d.sent(command + brief(key))
	s.text(command + key.Reveal())
	answer := s.answer()
	s.d.got(s.orError(answer))
	s.d.checkStream(answer == want, "", reason, why)
}

// checkStream prints the result of a stream. It checks that right is true and that the log
// has this reason. It waits for the line of the log for at most demoWait.
func (d *demo) checkStream(right bool, detail string, reason policy.Reason, why string) {
	decided := ""
	for begun := time.Now(); decided != reason.String() && time.Since(begun) < demoWait; time.Sleep(demoFrameEvery) {
		for _, entry := range d.log.decisions() {
			if strings.HasSuffix(entry.Logger, gateLogger) {
				decided = entry.Reason
			}
		}
	}
	if !right || decided != reason.String() {
		d.check(false, fmt.Sprintf("%sdecided as %q; this should have been %q", detail, decided, reason))
		return
	}
	d.check(true, reason.String()+": "+why)
}

// until reads messages until one begins with prefix. It returns this message, and the final
// results that came before it. After an error, it returns the text of the error in place of
// the message.
func (s *demoStream) until(prefix string) (last string, results []string) {
	for s.err == nil {
		message := s.answer()
		if strings.HasPrefix(message, "A ") {
			results = append(results, message)
		}
		if strings.HasPrefix(message, prefix) {
			return message, results
		}
	}
	return s.err.Error(), results
}

// playStream plays the step of the demo in which a stream lasts until its final result.
func (d *demo) playStream(ctx context.Context, key policy.Secret) {
	rules := dialect.AmiVoice.Commands()
	d.title("Live recognition, over a WebSocket")
	s := d.stream(ctx)
	defer s.close()
	s.start(key, rules.Started, policy.Allowed, "the key is in the start command. The backend got the command with the gate's key.")
	frames := s.sendAll(sandbox.SpeechWAV(), demoFrame, s.audio)
	s.text(rules.End)
	d.sent(fmt.Sprintf("%d frames of audio, speech.wav, and then e", frames))
	end, results := s.until(rules.Ended)
	d.results(results)
	d.got(end)
	d.check(end == rules.Ended && len(results) == 3 && strings.Contains(results[2], "3.65-5.15 s of 16000 Hz"),
		"to the final result. The gate decides again on every further start command of the connection.")
}

// results prints final results.
func (d *demo) results(all []string) {
	for _, result := range all {
		d.got("A " + abridged(strings.TrimPrefix(result, "A ")))
	}
}

// playCut plays the step of the demo in which a key is revoked during its stream.
func (d *demo) playCut(ctx context.Context, key policy.Secret, revoke func() error) error {
	rules := dialect.AmiVoice.Commands()
	d.title("A key is revoked in the middle of its stream")
	s := d.stream(ctx)
	defer s.close()
	s.start(key, rules.Started, policy.Allowed, "before.")
	d.sent("frames of audio, on and on")
	stop := s.feed(ctx, sandbox.SpeechWAV(), demoFrame, s.audio)
	defer stop()
	var revoked policy.Time
	failed := make(chan error, 1)
	time.AfterFunc(demoBefore, func() {
		revoked = d.clock.Now()
		failed <- revoke()
	})
	cut, results := s.until(rules.Failed + " ")
	at := d.clock.Now()
	stop()
	if err := <-failed; err != nil {
		return err
	}
	d.results(results)
	d.got(cut)
	took := time.Duration(at-revoked) * time.Millisecond
	d.checkStream(cut == rules.CutText && took < demoRevoke, fmt.Sprintf("cut after %s, ", took), policy.KeyRevoked,
		fmt.Sprintf("cut %s after the revocation, in the API's own words.\n       The connection is closed 0.6 s later if the client does not stop.", took))
	s.close()
	again := d.stream(ctx)
	defer again.close()
	again.start(key, rules.Refusal(policy.KeyRevoked), policy.KeyRevoked, "after.")
	return nil
}

// keyedCut is what playKeyedCut plays of an API.
type keyedCut struct {
	path, scheme string                   // of the handshake
	begins       func(s *demoStream) bool // opens a session if the API has one, and reports whether it is open

	feeds string // what the demo shows of the audio
	audio []byte
	frame int // bytes of audio in a frame
	send  func(s *demoStream, piece []byte) error
	hears func(s *demoStream) // reads a result

	ends       func(s *demoStream) bool // reads how the backend ends a stream, and reports whether it is right
	endsWhy    string
	refused    func(s *demoStream) bool // of another stream with the key; nil: it ends like the first
	refusedWhy string
}

// playKeyedCut plays the step of the demo in which a key is revoked during its stream, for an API whose key
// is in the handshake.
func (d *demo) playKeyedCut(ctx context.Context, keys keyring, c keyedCut) error {
	d.title("A key is revoked in the middle of its stream")
	s := d.openStream(ctx, c.path, c.scheme, keys.spoken)
	defer s.close()
	d.checkStream(c.begins(s), "", policy.Allowed, "before.")
	d.sent(c.feeds)
	stop := s.feed(ctx, c.audio, c.frame, func(piece []byte) error { return c.send(s, piece) })
	defer stop()
	c.hears(s)
	if err := d.revoke(ctx, keys.spokenID); err != nil {
		return err
	}
	revoked := d.clock.Now()
	right := c.ends(s)
	took := time.Duration(d.clock.Now()-revoked) * time.Millisecond
	stop()
	d.checkStream(right && took < demoRevoke, fmt.Sprintf("cut after %s, ", took), policy.KeyRevoked,
		fmt.Sprintf("cut %s after the revocation, in the API's own words. ", took)+c.endsWhy)
	s.close()
	again := d.openStream(ctx, c.path, c.scheme, keys.spoken)
	defer again.close()
	refused := c.refused
	if refused == nil {
		refused = c.ends
	}
	d.checkStream(refused(again), "", policy.KeyRevoked, "after."+c.refusedWhy)
	return nil
}

// opened reports whether the handshake has succeeded.
func (s *demoStream) opened() bool { return s.err == nil }

// unauthorized reports whether the handshake was refused with 401.
func (s *demoStream) unauthorized() bool {
	var refused ws.StatusError
	return errors.As(s.err, &refused) && int(refused) == http.StatusUnauthorized
}

// sendAll sends audio in frames of this size, with the function send, and returns how many it has sent.
func (s *demoStream) sendAll(audio []byte, size int, send func(piece []byte) error) (frames int) {
	for piece := range slices.Chunk(audio, size) {
		if s.err == nil {
			s.err = send(piece)
			frames++
		}
	}
	return frames
}

// feed begins to send audio in frames of this size, with the function send, until stop is called, a
// frame cannot be sent, or the audio has been sent twenty times. After an error it sends nothing.
func (s *demoStream) feed(ctx context.Context, audio []byte, size int, send func(piece []byte) error) (stop context.CancelFunc) {
	feeding, stop := context.WithCancel(ctx)
	if s.err != nil {
		return stop
	}
	go func() {
		for piece := range slices.Chunk(slices.Repeat(audio, 20), size) {
			if feeding.Err() != nil || send(piece) != nil {
				return
			}
			time.Sleep(demoFrameEvery)
		}
	}()
	return stop
}

// binary sends a frame of audio as a binary message.
func (s *demoStream) binary(piece []byte) error { return wsutil.WriteClientBinary(s.conn, piece) }

// earlyConn is a connection whose first bytes have already been read.
type earlyConn struct {
	net.Conn
	early io.Reader
}

func (c earlyConn) Read(p []byte) (int, error) { return c.early.Read(p) }
