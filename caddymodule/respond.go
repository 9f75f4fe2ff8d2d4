package caddymodule

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/dialect"
)

// How much of a refused upload is read, so that a client that does not look
// for an answer before it has sent all of it gets the answer, and no reset.
const (
	drainBytes = 16 << 20
	drainTime  = 5 * time.Second
)

// answer sends one of the gate's own answers in place of the backend's.
//
// The answer goes out at once, so that a client that listens can stop sending;
// then an upload that has begun is read on for a while. A client that waits for
// leave to send its body (Expect: 100-continue) never gets it.
func (x *exchange) answer(a dialect.Answer) error {
	x.writeHeader(a)
	rc := http.NewResponseController(x.w)
	drains := false
	if x.r.ProtoMajor == 1 && x.r.Body != nil && x.r.Body != http.NoBody {
		// What is left of the body must never be taken for the next request.
		x.w.Header().Set("Connection", "close")
		waits := !x.touched && x.r.Header.Get("Expect") != ""
		drains = !waits && rc.EnableFullDuplex() == nil
	}
	x.w.WriteHeader(a.Status)
	if _, err := io.WriteString(x.w, a.Body); err != nil || !drains || rc.Flush() != nil {
		return nil // the client is gone, or there is nothing to read
	}
	timer := time.AfterFunc(drainTime, func() { _ = rc.SetReadDeadline(time.Now()) })
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, x.r.Body, drainBytes)
	return nil
}

// writeHeader sets the header of one of the gate's own answers.
func (x *exchange) writeHeader(a dialect.Answer) {
	header := x.w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(a.Body)))
	if a.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.Session {
		setLiteral(header, x.gate.api.SessionHeader, newSessionID())
	}
	x.gate.setCORS(header, x.r)
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
