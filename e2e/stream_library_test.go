package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
)

// What streams are told that are refused, and that are cut.
const (
	deniedStart = "s received illegal service authorization"
	failedStart = "s can't connect to recognizer server"
	cutText     = "p can't feed audio data to recognizer server"
)

// library is a client as the vendor's libraries are: no version in the handshake,
// no masks, one frame one message.
type library struct {
	t       *testing.T
	conn    net.Conn
	reader  *bufio.Reader
	stopped atomic.Bool
}

const libraryHandshake = "GET /v1/ HTTP/1.1\r\nUser-Agent: Wrp/1.0.05 Python/3.11.7 (linux)\r\nHost: %s\r\n" +

	"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"

// stream opens a connection, with the first command in the segment of the
// handshake.
func (p *program) stream(command string, headers ...string) *library {
	p.t.Helper()
	host := strings.TrimPrefix(p.base, "http://")
	conn, err := net.Dial("tcp", strings.Replace(host, "localhost", "127.0.0.1", 1))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	l := &library{t: p.t, conn: conn, reader: bufio.NewReader(conn)}
	segment := fmt.Appendf(nil, libraryHandshake, host, strings.Join(headers, ""))
	if _, err := conn.Write(append(segment, wstest.RawText(command)...)); err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.ReadResponse(l.reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		p.t.Fatalf("the handshake is answered by %v, %v; the gateway's output:\n%s", resp, err, p.output)
	}
	return l
}

// startWith is a start command as the vendor's libraries send it.
func startWith(key string) string {
	return `s 16K -a-general profileWords="x authorization=FAKE" authorization=` + key
}

func (l *library) text(command string) {
	l.t.Helper()
	if _, err := l.conn.Write(wstest.RawText(command)); err != nil {
		l.t.Fatal(err)
	}
}

func (l *library) audio(p []byte) error {
	_, err := l.conn.Write(wstest.RawBinary("p" + string(p)))
	return err
}

// feed sends a recording, and the end of it.
func (l *library) feed() {
	l.t.Helper()
	for piece := range slices.Chunk(sandbox.SpeechWAV(), 4096) {
		if err := l.audio(piece); err != nil {
			l.t.Fatal(err)
		}
	}
	l.text("e")
}

// goOn feeds until it is stopped, as a microphone does.
func (l *library) goOn() {
	for piece := range slices.Chunk(slices.Repeat(sandbox.SpeechWAV(), 20), 4096) {
		if l.stopped.Load() || l.audio(piece) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop is what the libraries do when they hear of a failure.
func (l *library) stop() { l.stopped.Store(true) }

// read returns the next frame's payload. Like the libraries, it does not look at the
// frame's type.
func (l *library) read() (string, error) {
	frame, err := wstest.ReadFrame(l.reader)
	return frame.Payload, err
}

func (l *library) want(message string) {
	l.t.Helper()
	if got, err := l.read(); err != nil || got != message {
		l.t.Fatalf("got %q, %v; want %q", got, err, message)
	}
}

// until reads messages up to this one, and returns them.
func (l *library) until(message string) (before []string) {
	l.t.Helper()
	for {
		got, err := l.read()
		if err != nil {
			l.t.Fatalf("%v, after %q; want %q", err, before, message)
		}
		if got == message {
			return before
		}
		before = append(before, got)
	}
}

// ends checks that the gateway ends the connection, after a Close frame at most.
func (l *library) ends() {
	l.t.Helper()
	got, err := l.read()
	if err == nil && len(got) == 2 {
		_, err = l.read()
	}
	if !errors.Is(err, io.EOF) {
		l.t.Errorf("the connection goes on with %q, %v", got, err)
	}
}

// recognized checks what came between s and e.
func recognized(t *testing.T, events []string) {
	t.Helper()
	kinds := make(map[string]int)
	final := ""
	for _, event := range events {
		kind, rest, _ := strings.Cut(event, " ")
		kinds[kind]++
		if kind == "A" {
			final = rest
		}
	}
	var answer struct{ Text, Code string }
	err := json.Unmarshal([]byte(final), &answer)
	if err != nil || kinds["A"] != 3 || kinds["S"] != 3 || kinds["E"] != 3 || answer.Code != "" || !strings.Contains(answer.Text, "3.65-5.15 s of 16000 Hz mono") {
		t.Errorf("the events are %q, and the final result %q, %v", events, final, err)
	}
}
