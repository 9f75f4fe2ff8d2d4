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

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// responseInterceptor passes the backend's answer on to the client. The answer streams.
// Only two kinds are held back: an answer that creates a job, until the job is recorded,
// and an answer that may refuse the upstream key, until this is known.
type responseInterceptor struct {
	caddyhttp.ResponseWriterWrapper
	header http.Header // as the wrapped writer has it, behind some layers of its own

	// Of the exchange.
	gate     *Gate
	r        *http.Request
	call     dialect.Call
	admitted policy.Time
	record   handler.DecisionRecord
	store    *keystore.Store
	hasJob   bool                 // whether there is a record of the job
	state    policy.JobState      // in it
	reserved keystore.Reservation // the record of the job that the request creates

	replaced bool                // the answer is the gate's own; the rest is thrown away
	status   int                 // 0 until the header is written
	fields   int                 // how many that had
	trailers bool                // that announced some
	redactor credential.Redactor // of what comes behind the header
	members  *dialect.Members    // what is still to be read of the answer; nil for nothing
	reading  dialect.Members     // what members points to, so that nothing is allocated for it
	held     *bytes.Buffer       // an answer that creates a job; nil where it streams
	noStore  [1]string           // the values of a field, for the same reason
	upstream upstreamRequest     // the request as the next handlers have it
	check    refusalCheck        // whether the answer refuses the upstream key
}

// intercept has the answer to an admitted request go through a responseInterceptor.
func (x *gatedRequest) intercept(f *facts, d *decision) *responseInterceptor {
	w := &responseInterceptor{
		header: x.w.Header(),
		gate:   x.gate, r: x.r, call: x.call, admitted: d.at, record: *x.record(f, d.Reason), store: f.store,
		hasJob: f.hasJob, state: f.job.State,
	}
	w.ResponseWriter = x.w
	if x.gate.redactor != nil {
		w.redactor = x.gate.redactor.Clone(redactBytes)
	}
	return w
}

// Header is what goes with the answer.
func (w *responseInterceptor) Header() http.Header { return w.header }

// WriteHeader looks at the answer's status and header.
func (w *responseInterceptor) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status >= 100 && status < 200 {
		w.maskHeader()
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	refusal := w.keyRefused()
	if refusal != nil && refusal.Member == "" {
		w.refuseUpstream()
		return
	}
	if problem := w.problem(); problem != "" {
		w.replace(w.gate.api.GatewayError(w.call), problem)
		return
	}
	jobs := w.gate.api.Jobs
	switch {
	case w.call.Operation == policy.CreateJob && status < 300:
		w.read(jobs.ID)
		w.held = new(bytes.Buffer)
		return
	case w.startRefusalCheck(refusal):
		return
	case w.call.Operation == policy.ReadJob && status < 300 && w.hasJob && !w.state.Ended():
		w.read(jobs.State)
		w.members.StopEarly()
	}
	w.sendHeader()
}

// read has a member of the answer read as it passes.
func (w *responseInterceptor) read(member string) {
	w.members = &w.reading
	w.members.Begin(member)
}

// problem says why an answer cannot be passed on.
func (w *responseInterceptor) problem() string {
	swaps := w.gate.redactor != nil
	encoded := slices.ContainsFunc(w.header["Content-Encoding"], func(encoding string) bool {
		return encoding != "" && !strings.EqualFold(encoding, "identity")
	})
	switch {
	case swaps && w.status >= 300 && w.status < 400:
		return "the backend redirects, and the client would follow without the backend's key"
	case w.gate.reads(w.call.Operation) && encoded:
		return "the backend's answer is compressed, although the gate asked for plain text"
	}
	return ""
}

// Write passes on what the backend writes.
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
	}
	if w.held != nil {
		if w.held.Len()+len(p) > maxCreation {
			w.replace(w.gate.api.GatewayError(w.call), "the backend's answer to a job's creation is larger than 64 KiB")
			return len(p), nil
		}
		return w.held.Write(p)
	}
	w.noteState()
	if err := w.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *responseInterceptor) send(p []byte) error {
	_, err := w.ResponseWriter.Write(w.redactor.Next(p))
	return err
}

// ReadFrom copies through Write, which must see every byte.
func (w *responseInterceptor) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, src)
}

// FlushError flushes, unless the answer is held back.
func (w *responseInterceptor) FlushError() error {
	if w.holds() {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack refuses: no operation that is let through changes protocols.
func (*responseInterceptor) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, fmt.Errorf("the operation does not change protocols: %w", http.ErrNotSupported)
}

// discard throws away what was held of a failed answer, its header included.
func (w *responseInterceptor) discard() {
	if w.holds() {
		clear(w.header)
	}
}

// holds reports whether the backend's answer is held back, with its header.
func (w *responseInterceptor) holds() bool { return w.held != nil || w.check.refusal != nil }

// complete is called when the backend's answer has come whole.
func (w *responseInterceptor) complete() {
	switch {
	case w.held != nil:
		w.finishCreation()
	case w.check.refusal != nil:
		_ = w.finishRefusalCheck(w.check.body) // the client may be gone
	}
	if w.status == 0 {
		w.replace(w.gate.api.GatewayError(w.call), "no answer came: does a handler follow the gate?")
	}
	if w.replaced {
		return
	}
	if w.trailers || len(w.header) != w.fields {
		w.maskHeader()
	}
	if rest := w.redactor.Rest(); len(rest) > 0 {
		_, _ = w.ResponseWriter.Write(rest) // the client may be gone
	}
}

// replace sends one of the gate's own answers in place of the backend's, and logs why.
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

// substitute sends one of the gate's own answers.
func (w *responseInterceptor) substitute(a dialect.Answer) {
	w.upstream.restore()
	w.replaced = true
	w.held, w.members, w.check = nil, nil, refusalCheck{}
	header := w.header
	for name := range header {
		if name != "Alt-Svc" {
			delete(header, name)
		}
	}
	writeAnswerHeader(w.ResponseWriter, w.r, a, w.gate.CORS, w.gate.api.SessionHeader)
	header["Content-Length"] = []string{strconv.Itoa(len(a.Body))} // whole, even if the backend's answer breaks off
	w.ResponseWriter.WriteHeader(a.Status)
	_, _ = io.WriteString(w.ResponseWriter, a.Body) // the client may be gone
}

// Interface guards
var (
	_ http.ResponseWriter = (*responseInterceptor)(nil)
	_ io.ReaderFrom       = (*responseInterceptor)(nil)
	_ http.Hijacker       = (*responseInterceptor)(nil)
)
