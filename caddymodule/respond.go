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
	drainBytes = 17 << 20 // 16 MiB of audio, and the form around it
	drainTime  = 5 * time.Second
)

// answer sends one of the gate's own answers in place of the backend's.
func (x *exchange) answer(a dialect.Answer) error {
	x.gate.writeHeader(x.w, x.r, a)
	state := bodyUntouched
	if x.touched {
		state = bodyBegun
	}
	respond(x.w, x.r, a.Status, a.Body, state)
	return nil // whatever failed, the client has gone
}

// bodyState is how far a request's body has been read.
type bodyState uint8

const (
	bodyUntouched bodyState = iota
	bodyBegun
	bodyDone
)

// respond sends an answer whose header is set.
//
// Over HTTP/1 the answer goes out at once, so that a client that listens can
// stop sending; then an upload that has begun is read on for a while. Over
// HTTP/2 and 3 it is read first: curl loses an answer whose stream is reset, and
// stops reading once it has one. A client that waits for leave to send its body
// (Expect: 100-continue) never gets it.
func respond(w http.ResponseWriter, r *http.Request, status int, body string, state bodyState) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	rc := http.NewResponseController(w)
	unread := r.ContentLength != 0 && state != bodyDone
	waits := state == bodyUntouched && r.Header.Get("Expect") != ""
	drains := unread && !waits
	if r.ProtoMajor == 1 {
		if unread {
			// What is left of the body must never be taken for the next request.
			w.Header().Set("Connection", "close")
		}
		drains = drains && rc.EnableFullDuplex() == nil
	} else if drains {
		drain(r.Body, rc)
		drains = false
	}
	w.WriteHeader(status)
	_, err := io.WriteString(w, body)
	if err == nil && drains && rc.Flush() == nil {
		drain(r.Body, rc)
	}
}

// drain reads on for a while.
func drain(body io.Reader, rc *http.ResponseController) {
	timer := time.AfterFunc(drainTime, func() { _ = rc.SetReadDeadline(time.Now()) })
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, body, drainBytes)
}

// writeHeader sets the header of one of the gate's own answers.
func (g *Gate) writeHeader(w http.ResponseWriter, r *http.Request, a dialect.Answer) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
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
