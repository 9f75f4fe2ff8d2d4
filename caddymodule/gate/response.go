package gate

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/audiometer"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// responseInterceptor is the ResponseWriter of the next handlers. It reads the backend's answer
// on the way to the client. An answer streams, with three exceptions: an answer that creates a job
// or mints a token is held until the job or the token is recorded, an answer that may refuse
// the upstream key is held until this is known, and an answer with a list is held until the list
// begins.
type responseInterceptor struct {
	caddyhttp.ResponseWriterWrapper
	header http.Header // of ResponseWriter; to get it once is faster than to ask for it each time

	gate     *Gate
	r        *http.Request
	call     dialect.Call
	admitted policy.Time
	record   handler.DecisionRecord
	store    *keystore.Store
	hasJob   bool                      // the job of the request has a record
	state    policy.JobState           // in the record of the job
	reserved keystore.WriteReservation // of the write that will record a new job
	upstream upstreamRequest           // the request as the next handlers get it

	status   int                 // 0 until the header is written
	replaced bool                // the gate has answered; the rest of the backend's answer is dropped
	fields   int                 // the number of header fields that were sent
	trailers bool                // the header announces trailers
	redactor credential.Redactor // masks the upstream keys in the body
	check    refusalCheck        // whether the answer refuses the upstream key
	members  *jsonanswer.Members // reads members of the JSON body; nil if the gate needs no member
	created  string              // the job of a creation whose long answer has been sent in part
	held     *bytes.Buffer       // the body of an answer that creates a job or mints a token; nil if the answer streams

	edit        answerEdit         // changes the body
	passes      bool               // the backend gets what the client has shown
	key         int                // the index of the upstream key that the request belongs to
	tokenKey    policy.Fingerprint // of the upstream key of the client's token; 0 if it has shown no token
	stream      *liveStream        // the stream that the request opens; nil for other requests
	subprotocol string             // what the client gets if the backend names no subprotocol
	timer       *time.Timer        // ends the wait for the backend to open the stream
	hijacked    bool               // the proxy has the connection of the stream

	audio audiometer.Body // measures the audio of the request; used by some operations only

	membersBuf jsonanswer.Members // members points to it: this saves an allocation
	noStore    [1]string          // the values of Cache-Control: this saves an allocation
}

// intercept returns the responseInterceptor for the answer to an admitted request.
func (req *gatedRequest) intercept(f *facts, d *decision, mode credential.Mode, key int) *responseInterceptor {
	w := &responseInterceptor{
		header: req.w.Header(),
		gate:   req.gate, r: req.r, call: req.call, admitted: d.at, record: req.record(f, d.Reason), store: f.store,
		hasJob: f.hasJob, state: f.job.State, passes: mode == credential.Pass, key: key, tokenKey: f.token.UpstreamKey,
	}
	w.ResponseWriter = req.w
	if req.gate.redactor != nil {
		w.redactor = req.gate.redactor.Clone(redactBytes)
	}
	if req.call.Route != nil && req.call.Route.Edits != nil {
		w.edit.urls = newGateURLs(req.r)
	}
	return w
}

// Header returns the header of the answer.
func (w *responseInterceptor) Header() http.Header { return w.header }

// WriteHeader decides by the status and the header whether the answer streams, is held, or is
// replaced by an answer of the gate.
func (w *responseInterceptor) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	switch {
	case status == http.StatusSwitchingProtocols && w.stream != nil:
		w.openStream()
		return
	case status >= 100 && status < 200:
		w.maskHeader()
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	if w.timer != nil {
		w.timer.Stop() // the backend has answered, and opens no stream
	}
	refusal := w.keyRefused()
	if refusal != nil && refusal.Member == nil {
		w.refuseUpstream()
		return
	}
	if problem := w.problem(); problem != "" {
		w.replace(w.gate.api.GatewayError(w.call), problem)
		return
	}
	switch {
	case w.call.Operation == policy.CreateJob && status < 300:
		w.readMembers(w.call.Route.Jobs.ID)
		w.held = new(bytes.Buffer)
		return
	case w.call.Operation == policy.Mint && status < 300:
		w.held = new(bytes.Buffer)
		return
	case w.startRefusalCheck(refusal):
		return
	case w.readsState():
		w.readMembers(w.call.Route.Jobs.State)
		w.members.StopEarly()
	}
	w.recordEnded()
	if !w.startEdits() {
		w.sendHeader()
	}
}

// readMembers makes Write look for members of the JSON body.
func (w *responseInterceptor) readMembers(set *jsonanswer.Set) {
	w.members = &w.membersBuf
	w.members.Begin(set)
}

// problem returns why the client must not get the answer; "" if it may.
func (w *responseInterceptor) problem() string {
	hasUpstreamKey := w.gate.redactor != nil
	encoded := slices.ContainsFunc(w.header["Content-Encoding"], func(encoding string) bool {
		return encoding != "" && !strings.EqualFold(encoding, "identity")
	})
	switch {
	case w.status >= 300 && w.status < 400 && (hasUpstreamKey || w.status != http.StatusNotModified):
		return "the backend redirects, and the client would take its key to another address, past the gate"
	case w.gate.readsAnswer(w.call) && encoded:
		return "the backend's answer is compressed, although the gate asked for plain text"
	}
	return ""
}

// Write sends the next bytes of the backend's answer to the client, or holds them. If the gate
// has replaced the answer, Write drops the bytes.
func (w *responseInterceptor) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.replaced {
		return len(p), nil
	}
	if w.check.refusal != nil {
		return w.checkRefusal(p)
	}
	if w.members != nil {
		_, _ = w.members.Write(p)
		if err := w.checkCreated(); err != nil {
			return 0, err
		}
	}
	if w.held != nil {
		if w.held.Len()+len(p) <= maxHeld {
			return w.held.Write(p)
		}
		if w.passHeld(); w.replaced {
			return len(p), nil
		}
	}
	w.recordState()
	if w.edit.editor != nil {
		return w.sendEdited(p)
	}
	if err := w.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *responseInterceptor) send(p []byte) error {
	_, err := w.ResponseWriter.Write(w.redactor.Next(p))
	return err
}

// passHeld sends the held answer, which is too long to be held, or answers in its place.
func (w *responseInterceptor) passHeld() {
	if w.call.Operation == policy.CreateJob {
		w.passLongCreation()
		return
	}
	w.replace(w.gate.api.GatewayError(w.call), errLongMint.Error())
}

// ReadFrom copies src with Write, which must see every byte.
func (w *responseInterceptor) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, src)
}

// FlushError flushes the answer. While the answer is held, it does nothing.
func (w *responseInterceptor) FlushError() error {
	if w.isHeld() {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack returns the connection of a stream that the backend has opened. Otherwise it returns an
// error, because other operations do not change protocols.
func (w *responseInterceptor) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.stream != nil && w.status == http.StatusSwitchingProtocols && !w.hijacked {
		return w.hijack()
	}
	return nil, nil, fmt.Errorf("the operation does not change protocols: %w", http.ErrNotSupported)
}

// discard removes the header of an answer that is held, because the answer will not be sent. It
// does nothing if no answer is held.
func (w *responseInterceptor) discard() {
	if w.isHeld() {
		clear(w.header)
	}
}

// isHeld reports whether the backend's answer is held, with its header.
func (w *responseInterceptor) isHeld() bool {
	return w.held != nil || w.check.refusal != nil || w.edit.editor != nil && !w.edit.sent
}

// complete ends the answer to the client after the whole answer of the backend has come.
func (w *responseInterceptor) complete() {
	switch {
	case w.held != nil && w.call.Operation == policy.Mint:
		w.finishMint()
	case w.held != nil:
		w.finishCreation()
	case w.check.refusal != nil:
		_ = w.finishRefusalCheck(w.check.body) // an error says that the client has gone
	}
	if w.status == 0 {
		w.replace(w.gate.api.GatewayError(w.call), "no answer came: does a handler follow the gate?")
	}
	if w.replaced {
		return
	}
	if w.finishEdits(); w.replaced {
		return
	}
	if w.trailers || len(w.header) != w.fields {
		w.maskHeader()
	}
	if rest := w.redactor.Rest(); len(rest) > 0 {
		_, _ = w.ResponseWriter.Write(rest) // an error says that the client has gone
	}
}

// replace sends an answer of the gate in place of the backend's, and logs why.
func (w *responseInterceptor) replace(a dialect.Answer, problem string, fields ...zap.Field) {
	w.gate.logger.Error("answer withheld", append(fields,
		zap.String("problem", problem),
		zap.Int("backend_status", w.status),
		zap.Stringer("operation", w.call.Operation),
		zap.String("key_id", w.record.Owner.KeyID),
		zap.String("account_id", w.record.Owner.AccountID),
		zap.String("backend", w.gate.Backend))...)
	w.substitute(a)
}

// substitute sends an answer of the gate in place of the backend's.
func (w *responseInterceptor) substitute(a dialect.Answer) {
	w.upstream.restore()
	w.replaced = true
	w.held, w.members, w.check, w.edit = nil, nil, refusalCheck{}, answerEdit{}
	header := w.header
	for name := range header {
		if name != "Alt-Svc" {
			delete(header, name)
		}
	}
	a = w.gate.fill(a, w.r)
	writeAnswerHeader(w.ResponseWriter, w.r, a, w.gate.CORS, w.gate.api.SessionHeader)
	header["Content-Length"] = []string{strconv.Itoa(len(a.Body))} // so that this answer is complete even if the backend's answer breaks off
	w.ResponseWriter.WriteHeader(a.Status)
	_, _ = io.WriteString(w.ResponseWriter, a.Body) // an error says that the client has gone
}

// Interface guards
var (
	_ http.ResponseWriter = (*responseInterceptor)(nil)
	_ io.ReaderFrom       = (*responseInterceptor)(nil)
	_ http.Hijacker       = (*responseInterceptor)(nil)
)
