package sandbox

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 requires SHA-1
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// handshakeSalt is the text that a server appends to the client's key: RFC 6455,
// section 1.3.
const handshakeSalt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// isHandshake reports whether a request is a WebSocket handshake for a path of the API.
func isHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/v1/" || r.URL.Path == "/v1/nolog/") &&
		lists(r.Header.Values("Connection"), "upgrade") && lists(r.Header.Values("Upgrade"), "websocket")
}

// lists reports whether a header field with a list of values has this item.
func lists(values []string, item string) bool {
	for _, value := range values {
		for field := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(field), item) {
				return true
			}
		}
	}
	return false
}

// upgrade answers a handshake, and serves the WebSocket to its end. As with the vendor's
// server, the client need not name the protocol's version. The sandbox accepts no
// extensions and no subprotocols.
func (s *AmiVoice) upgrade(w http.ResponseWriter, r *http.Request) {
	keys := r.Header.Values("Sec-WebSocket-Key")
	notVersion := func(v string) bool { return v != "13" }
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		write(w, http.StatusNotImplemented, noteAnswer{Message: "no WebSocket over " + r.Proto + ": want HTTP/1.1"})
		return
	case r.ContentLength != 0:
		write(w, http.StatusBadRequest, noteAnswer{Message: "a body in a WebSocket handshake: want none"})
		return
	case len(keys) != 1 || keys[0] == "":
		write(w, http.StatusBadRequest, noteAnswer{Message: fmt.Sprintf("%d times Sec-WebSocket-Key: want one with a value", len(keys))})
		return
	case slices.ContainsFunc(r.Header.Values("Sec-WebSocket-Version"), notVersion):
		w.Header().Set("Sec-WebSocket-Version", "13")
		write(w, http.StatusUpgradeRequired, noteAnswer{Message: "unknown version of WebSocket: want 13"})
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		write(w, http.StatusNotImplemented, noteAnswer{Message: "the connection cannot become a WebSocket"})
		return
	}
	defer func() { _ = conn.Close() }()
	// The deadlines of the HTTP server do not apply to a WebSocket.
	if conn.SetDeadline(time.Time{}) != nil {
		return
	}
	sum := sha1.Sum([]byte(keys[0] + handshakeSalt)) //nolint:gosec // as above
	c := &wire{conn: conn, idle: s.idle}
	// The first frames may have arrived with the handshake.
	c.messages = messages{r: buffered.Reader, max: maxMessage, control: c.control}
	c.send([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"))
	(&stream{wire: c, sandbox: s}).serve()
}
