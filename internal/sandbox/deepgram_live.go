package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	closeUnsupported uint16 = 1008 // for messages and audio that the vendor cannot read
	closeServer      uint16 = 1011 // for a client that is silent for too long
)

// liveEvents are the messages of one version of the live API.
type liveEvents interface {
	begin()
	hear(layout pcm, what moment, s segment) // a watch
	finalize(at time.Duration)
	end(deepgramMetadata)
	fail(code, description string)
}

// deepgramStream is the WebSocket of a client.
type deepgramStream struct {
	*wire
	req    *deepgramRequest
	events liveEvents
	sum    hash.Hash
	size   int64  // bytes of audio
	left   []byte // the unread audio of the last message
	err    error  // the error that ended the audio: io.EOF after CloseStream
	ready  bool   // whether the header of the audio has been read
}

// live answers a handshake, and serves the WebSocket to its end.
func (req *deepgramRequest) live(events func(*deepgramStream) liveEvents) {
	raw, err := deepgramLayout(req.r.URL.Query())
	if err != nil {
		req.fail(http.StatusBadRequest, "INVALID_QUERY_PARAMETER", err.Error())
		return
	}
	fields := "Dg-Request-Id: " + req.id + "\r\n"
	offered := req.r.Header.Values("Sec-WebSocket-Protocol")
	switch {
	case lists(offered, "token"):
		fields += "Sec-WebSocket-Protocol: token\r\n"
	case lists(offered, "bearer"):
		fields += "Sec-WebSocket-Protocol: bearer\r\n"
	}
	c, bad := openSocket(req.w, req.r, req.idle, fields)
	if bad != nil {
		req.fail(bad.status, "INVALID_REQUEST", bad.message)
		return
	}
	defer func() { _ = c.conn.Close() }()
	st := &deepgramStream{wire: c, req: req, sum: sha256.New()}
	st.events = events(st)
	st.events.begin()
	st.serve(raw)
}

func (st *deepgramStream) say(body any) {
	if text, err := encode(body); err == nil {
		st.write(opText, text)
	}
}

// serve measures the audio to its end, and ends the stream.
func (st *deepgramStream) serve(raw pcm) {
	var measured measurement
	layout, samples, err := audioSamples(st, raw)
	if err == nil {
		st.ready = true
		measured = st.measure(samples, layout)
		st.skip(measured)
	}
	var wrong *violation
	switch {
	case errors.As(st.err, &wrong):
		st.events.fail("UNPARSABLE_CLIENT_MESSAGE", wrong.reason)
		st.bye(wrong.code, wrong.reason)
	case errors.Is(st.err, os.ErrDeadlineExceeded):
		const reason = "NET-0001: no audio and no KeepAlive within the timeout window"
		st.events.fail("NET-0001", reason)
		st.bye(closeServer, reason)
	case st.err != nil && !errors.Is(st.err, io.EOF): // the connection has ended
	case err != nil && st.size > 0:
		const reason = "DATA-0000: the audio cannot be decoded"
		st.events.fail("DATA-0000", reason)
		st.bye(closeUnsupported, reason)
	default:
		st.events.end(st.req.metadata(measured, hex.EncodeToString(st.sum.Sum(nil))))
		st.bye(closeNormal, "")
	}
}

// measure measures the samples, and sends the events of their speech.
func (st *deepgramStream) measure(samples io.Reader, layout pcm) measurement {
	m := newMeter(layout)
	m.watch = func(layout pcm, what moment, s segment) {
		// If the connection ends, no events are sent for its last speech.
		if st.err == nil || errors.Is(st.err, io.EOF) {
			st.events.hear(layout, what, s)
		}
	}
	return m.measure(samples, func() { st.events.finalize(m.at(m.samples)) })
}

// skip reads what follows the samples, such as the last chunks of a WAV file.
func (st *deepgramStream) skip(m measurement) {
	for st.err == nil {
		if _, err := io.Copy(io.Discard, st); errors.Is(err, errMark) {
			st.events.finalize(m.duration)
		}
	}
}

// Read reads the audio of the client's messages. The error is io.EOF after CloseStream, and
// errMark after Finalize: audio can follow it.
func (st *deepgramStream) Read(p []byte) (int, error) {
	for len(st.left) == 0 {
		if st.err != nil {
			return 0, st.err
		}
		left, err := st.next()
		switch {
		case errors.Is(err, errMark) && !st.ready: // there is nothing to finalize
		case errors.Is(err, errMark):
			return 0, err
		default:
			st.left, st.err = left, err
			st.size += int64(len(left))
			st.sum.Write(left)
		}
	}
	n := copy(p, st.left)
	st.left = st.left[n:]
	return n, nil
}

// next returns the audio of the next message. A binary message without bytes ends the stream, as
// CloseStream does.
func (st *deepgramStream) next() ([]byte, error) {
	opcode, message, err := st.read()
	switch {
	case err != nil:
		return nil, err
	case opcode == opBinary && len(message) == 0:
		return nil, io.EOF
	case opcode == opBinary:
		return message, nil
	}
	var control struct{ Type string }
	if json.Unmarshal(message, &control) != nil {
		return nil, &violation{closeUnsupported, "a text message that is not a JSON object"}
	}
	switch control.Type {
	case "KeepAlive":
		return nil, nil
	case "Finalize":
		return nil, errMark
	case "CloseStream":
		return nil, io.EOF
	}
	return nil, &violation{closeUnsupported, "unknown message type " + strings.ToValidUTF8(control.Type[:min(len(control.Type), 40)], "")}
}
