package caddymodule

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/dialect"
)

// answer sends one of the gate's own answers in place of the backend's. It is the
// last thing that is done with the request.
func (x *exchange) answer(a dialect.Answer) error {
	x.gate.writeHeader(x.w, x.r, a)
	state := bodyUntouched
	if x.touched {
		state = bodyBegun
	}
	// The client may go on sending for minutes, which must not keep the store open.
	x.release()
	own := ownAnswer{a.Status, a.Body, state}
	own.send(x.w, x.r, x.gate.app.drain, x.gate.logger)
	return nil // whatever failed, the client has gone
}

// bodyState is how far a request's body has been read.
type bodyState uint8

const (
	bodyUntouched bodyState = iota
	bodyBegun
	bodyDone
)

// ownAnswer is an answer of the gateway's own, in place of a backend's. Its header is
// set already.
type ownAnswer struct {
	status int
	body   string
	state  bodyState // of the request
}

// send sends the answer so that it reaches a client that has not sent its whole request
// yet.
//
// Over HTTP/1 the answer goes out at once, so that a client that listens can stop
// sending; then what the client still sends is drained. Over HTTP/2 and 3 the request
// is drained first: curl loses an answer whose stream is reset, and stops reading once
// it has one. A client that waits for leave to send its body (Expect: 100-continue)
// never gets it. Over HTTP/1 such a client can send nonetheless, and has no long time
// to begin.
func (a ownAnswer) send(w http.ResponseWriter, r *http.Request, limits drainLimits, logger *zap.Logger) {
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	rc := http.NewResponseController(w)
	unread := r.ContentLength != 0 && a.state != bodyDone
	waits := a.state == bodyUntouched && r.Header.Get("Expect") != ""
	drainFor := func(idle time.Duration) {
		_ = rc.SetReadDeadline(time.Time{}) // of a reservation of memory that was ended
		end, size := drains.read(r.Body, rc, idle, limits)
		if c := logger.Check(zap.DebugLevel, "refused upload read on"); c != nil {
			c.Write(zap.String("end", string(end)), zap.Int64("bytes", size))
		}
	}
	duplex := false
	switch {
	case !unread:
	case r.ProtoMajor == 1:
		// What is left of the body must never be taken for the next request.
		w.Header().Set("Connection", "close")
		duplex = rc.EnableFullDuplex() == nil
	case !waits:
		drainFor(drainIdle)
	}
	w.WriteHeader(a.status)
	_, err := io.WriteString(w, a.body)
	if !duplex || err != nil || rc.Flush() != nil {
		return
	}
	// From here on no read asks the client to continue: net/http knows that the answer
	// has been sent.
	if waits {
		drainFor(drainIdleExpect)
	} else {
		drainFor(drainIdle)
	}
}

// writeHeader sets the header of one of the gate's own answers.
func (g *Gate) writeHeader(w http.ResponseWriter, r *http.Request, a dialect.Answer) {
	header := w.Header()
	forbidCaching(header)
	header.Set("Content-Type", "application/json")
	if a.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.Session {
		setLiteral(header, g.api.SessionHeader, newSessionID())
	}
	g.CORS.set(header, r, g.api.SessionHeader)
}

// setLiteral sets a header field whose spelling must stay as it is.
func setLiteral(header http.Header, name string, values ...string) {
	header.Del(name)
	header[name] = values
}

// newSessionID looks like the backend's: 24 hexadecimal digits.
func newSessionID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
