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

// isHandshake reports whether a request is a WebSocket handshake.
func isHandshake(r *http.Request) bool {
	return r.Method == http.MethodGet && lists(r.Header.Values("Connection"), "upgrade") && lists(r.Header.Values("Upgrade"), "websocket")
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

// badHandshake is the answer to a handshake that opens no WebSocket.
type badHandshake struct {
	status  int
	message string
}

// openSocket answers a handshake. The header of the answer has these fields too. As with the
// vendors' servers, the client need not name the protocol's version. The sandbox accepts no
// extensions. If openSocket returns no WebSocket, the caller answers. Otherwise the caller closes
// the connection.
func openSocket(w http.ResponseWriter, r *http.Request, idle time.Duration, fields string) (*wire, *badHandshake) {
	keys := r.Header.Values("Sec-WebSocket-Key")
	notVersion := func(v string) bool { return v != "13" }
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return nil, &badHandshake{http.StatusNotImplemented, "no WebSocket over " + r.Proto + ": want HTTP/1.1"}
	case r.ContentLength != 0:
		return nil, &badHandshake{http.StatusBadRequest, "a body in a WebSocket handshake: want none"}
	case len(keys) != 1 || keys[0] == "":
		return nil, &badHandshake{http.StatusBadRequest, fmt.Sprintf("%d times Sec-WebSocket-Key: want one with a value", len(keys))}
	case slices.ContainsFunc(r.Header.Values("Sec-WebSocket-Version"), notVersion):
		w.Header().Set("Sec-WebSocket-Version", "13")
		return nil, &badHandshake{http.StatusUpgradeRequired, "unknown version of WebSocket: want 13"}
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, &badHandshake{http.StatusNotImplemented, "the connection cannot become a WebSocket"}
	}
	// The deadlines of the HTTP server do not apply to a WebSocket. If this fails, the connection
	// has ended, and so do the reads.
	_ = conn.SetDeadline(time.Time{})
	sum := sha1.Sum([]byte(keys[0] + handshakeSalt)) //nolint:gosec // as above
	c := &wire{conn: conn, idle: idle}
	// The first frames may have arrived with the handshake.
	c.messages = messages{r: buffered.Reader, max: maxMessage, control: c.control}
	c.send([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n" + fields + "\r\n"))
	return c, nil
}
