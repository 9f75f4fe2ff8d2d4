package handler

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/drain"
)

// BodyState says how much of the body of a request has been read.
type BodyState uint8

// The states of a body.
const (
	BodyUntouched BodyState = iota // nothing of it has been read
	BodyBegun                      // a part of it has been read
	BodyDone                       // all of it has been read
)

// OwnAnswer is an answer of the gateway itself. The header is not part of it: the caller sets
// the header before Send.
type OwnAnswer struct {
	Status int
	Body   string
	State  BodyState // of the body of the request
}

// Send sends the answer so that it reaches a client that has not sent its whole request yet.
//
// Over HTTP/1 the answer goes out at once, so that a client that listens can stop sending.
// Then Send drains the rest of the request. Over HTTP/2 and HTTP/3 Send drains the request
// before it answers, because curl loses an answer if the stream is reset, and reads nothing
// more after an answer. A client that asks whether it may send its body (Expect: 100-continue)
// is not told to continue. Over HTTP/1 such a client may send nevertheless, and must begin
// within [drain.IdleExpect].
func (a OwnAnswer) Send(w http.ResponseWriter, r *http.Request, drainer drain.Drainer, logger *zap.Logger) {
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	rc := http.NewResponseController(w)
	unread := r.ContentLength != 0 && a.State != BodyDone
	waits := a.State == BodyUntouched && r.Header.Get("Expect") != ""
	drainRest := func(idle time.Duration) {
		_ = rc.SetReadDeadline(time.Time{}) // removes the deadline that the head budget sets when it ends a reservation
		end, size := drainer.Drain(r.Body, rc, idle)
		if c := logger.Check(zap.DebugLevel, "refused upload read on"); c != nil {
			c.Write(zap.String("end", string(end)), zap.Int64("bytes", size))
		}
	}
	duplex := false
	switch {
	case !unread:
	case r.ProtoMajor == 1:
		// The rest of the body must never be read as the next request.
		w.Header().Set("Connection", "close")
		duplex = rc.EnableFullDuplex() == nil
	case !waits:
		drainRest(drain.Idle)
	}
	w.WriteHeader(a.Status)
	_, err := io.WriteString(w, a.Body)
	if !duplex || err != nil || rc.Flush() != nil {
		return
	}
	// The answer has been sent, so net/http does not send 100 Continue when the body is read.
	if waits {
		drainRest(drain.IdleExpect)
	} else {
		drainRest(drain.Idle)
	}
}

// SetLiteral sets a header field with exactly this spelling of the name. [http.Header.Set]
// changes the case of letters.
func SetLiteral(header http.Header, name string, values ...string) {
	header.Del(name)
	header[name] = values
}

// NewSessionID returns a random session ID of 24 hexadecimal digits, like those of the
// backend.
func NewSessionID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// NewRequestID returns a random ID of a request: 32 hexadecimal digits.
func NewRequestID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
