package sandbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

func TestAnUnknownCommandEndsTheConnection(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{})
	const want = `: want s or e as text, or p as binary`
	for name, test := range map[string]struct {
		frame []byte
		says  string
		code  uint16
	}{
		"unknown":         {wstest.RawText("x authorization=secret"), `? unknown command "x"` + want, 1002},
		"s with a tail":   {wstest.RawText("start"), `? unknown command "s"` + want, 1002},
		"e with a tail":   {wstest.RawText("e "), `? unknown command "e"` + want, 1002},
		"s as binary":     {wstest.RawBinary("s 16K -a-general"), `? unknown command "s"` + want, 1002},
		"e as binary":     {wstest.RawBinary("e"), `? unknown command "e"` + want, 1002},
		"another binary":  {wstest.RawBinary("\xff"), `? unknown command "\xff"` + want, 1002},
		"nothing":         {wstest.RawText(""), `? unknown command ""` + want, 1002},
		"nothing, binary": {wstest.RawBinary(""), `? unknown command ""` + want, 1002},
		"not UTF-8":       {wstest.RawText("s 16K \xFF"), "", 1007},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, within := range []bool{false, true} {
				p := dial(t, addr, libraryShake)
				if within {
					p.Send(wstest.RawText("s LSB16K -a-general"), feeds(tones(mono16k)[:2*16000], 4096))
					p.WantText("s", "S 500", "C")
					p.Next() // U
				}
				// After a refused command, an empty message is not a command either.
				p.Send(wstest.RawText("psound"), test.frame)
				p.WantText(cannotFeed)
				if test.says != "" {
					p.WantText(test.says)
				}
				p.WantClose(test.code)
			}
		})
	}
}

func TestControlFramesAreAnsweredAnywhere(t *testing.T) {
	t.Parallel()
	p := dial(t, serveStreams(t, Config{}), libraryShake, wstest.Raw(0x89, nil, 0, nil))
	wantPong := func(payload string) {
		t.Helper()
		p.Want(wstest.Of(true, wstest.OpPong, false, payload))
	}
	wantPong("")
	p.Send(wstest.Raw(0x01, nil, 0, []byte("s LSB16K ")), wstest.Raw(0x89, []byte{1, 2, 3, 4}, 0, []byte("within a message")))
	wantPong("within a message")
	p.Send(wstest.Raw(0x00, []byte{1, 2, 3, 4}, 64, []byte("-a-gen")), wstest.Raw(0x80, nil, 16, []byte("eral")))
	p.WantText("s")
	p.Send(wstest.Raw(0x89, nil, 0, bytes.Repeat([]byte("x"), 125)), wstest.Raw(0x8A, nil, 0, nil), feeds(tones(mono16k), 30000), wstest.RawText("e"))
	wantPong(strings.Repeat("x", 125))
	toldInOrder(t, p.events())
	p.Send(wstest.Raw(0x88, nil, 0, append([]byte{0x0F, 0xA1}, "bye"...)))
	p.WantClose(4001)

	p = dial(t, serveStreams(t, Config{}), libraryShake, wstest.RawText("s LSB16K -a-general"), feeds(tones(mono16k)[:2*16000], 4096), wstest.Raw(0x88, nil, 0, nil))
	p.WantText("s", "S 500", "C")
	p.Next() // U
	p.Want(wstest.Of(true, wstest.OpClose, false, ""))
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{})
	most := bytes.Repeat([]byte{'p'}, maxMessage)
	for name, frames := range map[string][][]byte{
		"binary":       {wstest.Raw(0x82, nil, 0, append(most, 0))},
		"text":         {wstest.Raw(0x81, nil, 0, append(most, 0))},
		"in two":       {wstest.Raw(0x02, nil, 0, most), wstest.Raw(0x80, nil, 0, []byte{0})},
		"only claimed": {binary.BigEndian.AppendUint64([]byte{0x82, 127}, 1<<62)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, addr, libraryShake, wstest.RawText("s LSB16K -a-general"))
			p.WantText("s")
			p.Send(wstest.Raw(0x82, nil, 0, most))
			p.Send(frames...)
			p.WantClose(1009)
		})
	}
}

func TestAMessageTakesNoMemoryBeforeItArrives(t *testing.T) {
	t.Parallel()
	claim := binary.BigEndian.AppendUint64([]byte{0x82, 127}, maxMessage)
	m := messages{r: bytes.NewReader(append(claim, "p and no more"...)), max: maxMessage}
	if _, _, err := m.next(); err == nil || cap(m.buf) > 2*maxGrowth {
		t.Errorf("error %v, %d bytes held; want an error and at most %d", err, cap(m.buf), 2*maxGrowth)
	}
}

func TestAFrameAgainstTheRulesEndsTheConnection(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{})
	for name, frame := range map[string][]byte{
		"compressed":          wstest.Raw(0xC1, nil, 0, []byte("e")),
		"unknown opcode":      wstest.Raw(0x83, nil, 0, nil),
		"unknown control":     wstest.Raw(0x8B, nil, 0, nil),
		"Ping in pieces":      wstest.Raw(0x09, nil, 0, nil),
		"Ping that is long":   wstest.Raw(0x89, nil, 0, make([]byte, 126)),
		"half a code":         wstest.Raw(0x88, nil, 0, []byte{3}),
		"nothing continued":   wstest.Raw(0x80, nil, 0, []byte("e")),
		"one in another":      append(wstest.Raw(0x01, nil, 0, []byte("e")), wstest.RawText("e")...),
		"length of 64 bits":   {0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 1},
		"one after an answer": append(wstest.RawText("psound"), wstest.Raw(0xF1, nil, 0, nil)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, addr, libraryShake, frame)
			if name == "one after an answer" {
				p.WantText(cannotFeed)
			}
			p.WantClose(1002)
		})
	}
}

func TestAStreamThatFallsSilentIsEnded(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{StreamIdle: 300 * time.Millisecond})
	p := dial(t, addr, libraryShake)
	p.WantText(timedOut)
	p.WantClose(1000)

	p = dial(t, addr, libraryShake, wstest.RawText("s LSB16K -a-general"), feeds(tones(mono16k)[:2*16000], 4096))
	p.WantText("s", "S 500", "C")
	p.Next() // U
	p.WantText(timedOutInSession)
	p.WantClose(1000)

	// Half a message is not a message, and Pings are not messages.
	p = dial(t, addr, libraryShake, wstest.RawText("s 16K -a-general"))
	p.WantText("s")
	p.Send(wstest.Raw(0x02, nil, 0, []byte("p")))
	for {
		_, _ = p.Write(wstest.Raw(0x89, nil, 0, nil))
		if f := p.Next(); f.Opcode != wstest.OpPong {
			if f.Payload != timedOutInSession {
				t.Errorf("got %v; want Pongs and %q", f, timedOutInSession)
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAStreamWithoutAnIdleLimitMayStaySilent(t *testing.T) {
	t.Parallel()
	for idle, want := range map[time.Duration]time.Duration{0: 62 * time.Second, -1: 0, 5: 5} {
		if got := NewAmiVoice(Config{StreamIdle: idle}).idle; got != want {
			t.Errorf("StreamIdle %d: waits for %v, want %v", idle, got, want)
		}
	}
	p := dial(t, serveStreams(t, Config{StreamIdle: -1}), libraryShake)
	p.Send(wstest.RawText("e"))
	p.WantText(cannotEnd)
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	t.Parallel()
	addr := serveStreams(t, Config{})
	for name, first := range map[string][]byte{
		"at once":          nil,
		"in a session":     append(wstest.RawText("s LSB16K -a-general"), feeds(tones(mono16k), 4096)...),
		"within a message": append(wstest.RawText("s LSB16K -a-general"), wstest.Raw(0x82, nil, 0, tones(mono16k))[:5000]...),
		"within a head":    {0x82, 127, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dial(t, addr, libraryShake, first).Close()
		})
	}
}

func TestBadHandshakesAreRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(NewAmiVoice(Config{}))
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		old, new string
		want     string
	}{
		"no key":             {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400 Bad Request"},
		"empty key":          {"dGhlIHNhbXBsZSBub25jZQ==", "", "400 Bad Request"},
		"two keys":           {"\r\n\r\n", "\r\nSec-WebSocket-Key: x\r\n\r\n", "400 Bad Request"},
		"a body":             {"\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc", "400 Bad Request"},
		"a body in chunks":   {"\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 Bad Request"},
		"another version":    {"\r\n\r\n", "\r\nSec-WebSocket-Version: 8\r\n\r\n", "426 Upgrade Required"},
		"two versions":       {"\r\n\r\n", "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n\r\n", "426 Upgrade Required"},
		"HTTP/1.0":           {"HTTP/1.1", "HTTP/1.0", "501 Not Implemented"},
		"to something else":  {"websocket", "h2c", "404 Not Found"},
		"not for this hop":   {"Connection: upgrade\r\n", "", "404 Not Found"},
		"another method":     {"GET", "POST", "404 Not Found"},
		"another path":       {"/v1/", "/v1/nolog", "404 Not Found"},
		"the path of a poll": {"/v1/", "/v1/recognitions/x", "404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := strings.Replace(libraryShake, test.old, test.new, 1)
			request = strings.Replace(request, "Connection: upgrade", "Connection: upgrade, close", 1)
			if !strings.Contains(request, "close") {
				request = strings.Replace(request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
			}
			_, answer, _ := strings.Cut(exchange(t, server.Listener.Addr().String(), []byte(request)), " ")
			if !strings.HasPrefix(answer, test.want+"\r\n") || !strings.HasSuffix(answer, "\"}\r\n") {
				t.Errorf("got %q, want %s", answer, test.want)
			}
		})
	}
	for _, major := range []int{1, 2, 3} { // 1: over a connection that cannot be hijacked
		r := httptest.NewRequest(http.MethodGet, "/v1/", nil)
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {"x"}}
		r.ProtoMajor, r.ProtoMinor, r.Proto = major, 1, fmt.Sprintf("HTTP/%d", major)
		w := httptest.NewRecorder()
		NewAmiVoice(Config{}).ServeHTTP(w, r)
		if w.Code != http.StatusNotImplemented {
			t.Errorf("HTTP/%d: status %d", major, w.Code)
		}
	}
}
