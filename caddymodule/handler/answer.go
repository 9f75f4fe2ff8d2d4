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

// BodyState is how far a request's body has been read.
type BodyState uint8

// The states of a body.
const (
	BodyUntouched BodyState = iota // nothing of it has been read
	BodyBegun                      // a part of it has been read
	BodyDone                       // all of it has been read
)

// OwnAnswer is an answer of the gateway's own, in place of a backend's. Its header is
// set already.
type OwnAnswer struct {
	Status int
	Body   string
	State  BodyState // of the request
}

// Send sends the answer so that it reaches a client that has not sent its whole request
// yet.
//
// Over HTTP/1 the answer goes out at once, so that a client that listens can stop
// sending; then what the client still sends is drained. Over HTTP/2 and 3 the request
// is drained first: curl loses an answer whose stream is reset, and stops reading once
// it has one. A client that waits for leave to send its body (Expect: 100-continue)
// never gets it. Over HTTP/1 such a client can send nonetheless, and has no long time
// to begin.
func (a OwnAnswer) Send(w http.ResponseWriter, r *http.Request, drains drain.Limited, logger *zap.Logger) {
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	rc := http.NewResponseController(w)
	unread := r.ContentLength != 0 && a.State != BodyDone
	waits := a.State == BodyUntouched && r.Header.Get("Expect") != ""
	drainFor := func(idle time.Duration) {
		_ = rc.SetReadDeadline(time.Time{}) // of a reservation of memory that was ended
		end, size := drains.Read(r.Body, rc, idle)
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
		drainFor(drain.Idle)
	}
	w.WriteHeader(a.Status)
	_, err := io.WriteString(w, a.Body)
	if !duplex || err != nil || rc.Flush() != nil {
		return
	}
	// From here on no read asks the client to continue: net/http knows that the answer
	// has been sent.
	if waits {
		drainFor(drain.IdleExpect)
	} else {
		drainFor(drain.Idle)
	}
}

// SetLiteral sets a header field whose spelling must stay as it is.
func SetLiteral(header http.Header, name string, values ...string) {
	header.Del(name)
	header[name] = values
}

// NewSessionID looks like the backend's: 24 hexadecimal digits.
func NewSessionID() string {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
