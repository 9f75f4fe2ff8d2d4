package e2e_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// What streams are told that are refused, and that are cut.
const (
	deniedStart = "s received illegal service authorization"
	failedStart = "s can't connect to recognizer server"
	cutText     = "p can't feed audio data to recognizer server"
)

// newStreamProgram is Caddyfile.example with these options of the gate, and with
// the admin API at the address that is returned.
func newStreamProgram(t *testing.T, options string) (p *program, admin string) {
	t.Helper()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	admin = "localhost:" + port(t)
	text := string(example)
	for _, change := range [][2]string{
		{"admin localhost:2019", "admin " + admin},
		{"trusted_proxies static 192.0.2.1", "trusted_proxies static 127.0.0.1 ::1"},
		{"grace_after_end 1h\n", "grace_after_end 1h\n" + options + "\n"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the example has no %q", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	p = newProgram(t, text)
	p.start()
	return p, admin
}

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
	if _, err := conn.Write(append(segment, plainFrame(1, []byte(command))...)); err != nil {
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

func plainFrame(opcode byte, payload []byte) []byte {
	frame := []byte{0x80 | opcode}
	if n := len(payload); n < 126 {
		frame = append(frame, byte(n))
	} else {
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	}
	return append(frame, payload...)
}

func (l *library) text(command string) {
	l.t.Helper()
	if _, err := l.conn.Write(plainFrame(1, []byte(command))); err != nil {
		l.t.Fatal(err)
	}
}

func (l *library) audio(p []byte) error {
	_, err := l.conn.Write(plainFrame(2, append([]byte{'p'}, p...)))
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

// read returns the next frame's payload, whatever the frame is: the libraries do
// not look.
func (l *library) read() (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(l.reader, head[:]); err != nil {
		return "", err
	}
	length := head[1:]
	switch head[1] {
	case 126:
		length = make([]byte, 2)
	case 127:
		length = make([]byte, 8)
	}
	if len(length) > 1 {
		if _, err := io.ReadFull(l.reader, length); err != nil {
			return "", err
		}
	}
	payload := make([]byte, binary.BigEndian.Uint64(append(make([]byte, 8-len(length)), length...)))
	_, err := io.ReadFull(l.reader, payload)
	return string(payload), err
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

func TestLibrariesStreamThroughTheGateway(t *testing.T) {
	p, _ := newStreamProgram(t, "max_streams 2")
	account, closed := p.account(), p.account()
	_, key := p.key(account, "--expires", "1h")
	_, second := p.key(account)
	_, expired := p.key(account, "--expires", "1ms")
	_, bound := p.key(account, "--allow", "203.0.113.0/24")
	revokedID, revoked := p.key(account)
	p.run("key", "revoke", revokedID)
	deletedID, deleted := p.key(account)
	p.run("key", "delete", deletedID)
	_, ofClosed := p.key(closed)
	p.run("account", "close", closed, "--yes")

	run := func(name string, f func()) {
		t.Run(name, func(sub *testing.T) {
			p.t = sub
			defer func() { p.t = t }()
			f()
		})
	}
	run("to the final result", func() {
		l := p.stream(startWith(key))
		l.want("s")
		l.feed()
		recognized(p.t, l.until("e"))
	})
	run("with one key after the other", func() {
		l := p.stream(startWith(key))
		for _, next := range []string{second, expired} {
			l.want("s")
			l.feed()
			recognized(p.t, l.until("e"))
			l.text(startWith(next))
		}
		l.want(deniedStart)
		l.ends()
	})
	refusals := []struct{ reason, command string }{
		{"key_unknown", startWith("nobody")},
		{"key_expired", startWith(expired)},
		{"key_revoked", startWith(revoked)},
		{"key_deleted", startWith(deleted)},
		{"account_closed", startWith(ofClosed)},
		{"address_refused", startWith(bound)},
		{"credential_missing", `s 16K -a-general profileWords="x authorization=` + key + `"`},
		{"credential_ambiguous", startWith(key) + " authorization=" + second},
		{"credential_malformed", startWith(key + "x")},
	}
	for _, r := range refusals {
		run(r.reason, func() {
			l := p.stream(r.command)
			l.want(deniedStart)
			p.logsRefusal(r.reason)
		})
	}
	run("from the address that a key is bound to", func() {
		l := p.stream(startWith(bound), "X-Forwarded-For: 203.0.113.7\r\n")
		l.want("s")
	})
	run("stream_limit", func() {
		for range 2 {
			p.stream(startWith(second)).want("s")
		}
		l := p.stream(startWith(second))
		l.want(failedStart)
		l.ends()
		p.logsRefusal("stream_limit")
	})
	run("store_unavailable", func() {
		store := filepath.Join(p.dir, "data", "caddy", "speechgate", "keystore.db")
		if err := os.Rename(store, store+".away"); err != nil {
			p.t.Fatal(err)
		}
		p.eventually("the gateway notices", func() bool {
			l := p.stream(startWith(key))
			got, err := l.read()
			_ = l.conn.Close()
			return err == nil && got == failedStart
		})
		p.logsRefusal("store_unavailable")
	})
	p.kept(key, second, expired, bound, revoked, deleted, ofClosed)
}

// logsRefusal waits for a refusal of a stream in the log.
func (p *program) logsRefusal(reason string) {
	p.t.Helper()
	p.eventually("the refusal is logged as "+reason, func() bool {
		return strings.Contains(p.output.String(), `"msg":"refused","reason":"`+reason+`","operation":"stream"`)
	})
}

// TestOtherProcessesCutStreams cuts as an operator does.
func TestOtherProcessesCutStreams(t *testing.T) {
	p, admin := newStreamProgram(t, "")
	account, other := p.account(), p.account()
	_, bystander := p.key(other)
	free := p.stream(startWith(bystander))
	free.want("s")

	// begin opens streams that are fed until they stop, and one that idles.
	begin := func(keys ...string) (all []*library) {
		t.Helper()
		for _, key := range keys {
			l := p.stream(startWith(key))
			l.want("s")
			go l.goOn()
			all = append(all, l)
		}
		idle := p.stream(startWith(keys[0]))
		idle.want("s")
		idle.text("e")
		idle.want("e")
		return append(all, idle)
	}
	// cut checks that all of these are cut in the second after a command has ended,
	// while it runs at the earliest.
	cut := func(all []*library, args ...string) map[string]any {
		t.Helper()
		type seen struct {
			at  time.Time
			err error
		}
		cuts := make(chan seen, len(all))
		for _, l := range all {
			go func() {
				for {
					got, err := l.read()
					if err != nil || got == cutText {
						l.stop()
						cuts <- seen{time.Now(), err}
						return
					}
				}
			}()
		}
		begun := time.Now()
		result := p.run(args...)
		ended := time.Now()
		for range all {
			if s := <-cuts; s.err != nil || s.at.Before(begun) || s.at.After(ended.Add(time.Second)) {
				t.Errorf("%v: a stream was cut %s after the command, %v", args, s.at.Sub(ended), s.err)
			}
		}
		for _, l := range all {
			l.ends()
		}
		return result
	}

	id, key := p.key(account)
	cut(begin(key), "key", "revoke", id, "--reason", "leaked")
	p.stream(startWith(key)).want(deniedStart)
	id, key = p.key(account)
	cut(begin(key), "key", "delete", id)

	id, key = p.key(account)
	_, colleague := p.key(account)
	if got := cut(begin(key), "stream", "cut", "--key", id, "--address", admin); fmt.Sprint(got) != "map[cut:2]" {
		t.Errorf("it says %v", got)
	}
	if got := cut(begin(key, colleague), "stream", "cut", "--account", account, "--address", admin); fmt.Sprint(got) != "map[cut:3]" {
		t.Errorf("it says %v", got)
	}
	// The key is as good as it was.
	one := p.stream(startWith(key))
	one.want("s")
	var listed map[string]any
	p.eventually("the streams that were cut are gone", func() bool {
		all := p.runList("stream", "list", "--address", admin)
		listed = all[len(all)-1]
		return len(all) == 2
	})
	if listed["key_id"] != id || listed["account_id"] != account || listed["backend"] != "amivoice" || listed["client_ip"] != "127.0.0.1" ||
		listed["begun_at"] == nil || listed["accepted_at"] == nil {
		t.Errorf("it is listed as %v", listed)
	}
	if got := cut([]*library{one}, "stream", "cut", fmt.Sprint(listed["stream_id"]), "--config", p.config); fmt.Sprint(got) != "map[cut:1]" {
		t.Errorf("it says %v", got)
	}
	cut(begin(key), "account", "close", account, "--yes")

	free.feed()
	recognized(t, free.until("e"))
	p.kept(key, colleague, bystander)
}

// pageStream is what a page sees of a stream.
type pageStream struct {
	Messages   []string `json:"messages"`
	Extensions *string  `json:"extensions"`
	Code       int      `json:"code"`
}
