package gate

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/policy"
)

// answerEdit changes the backend's answer while it passes. The header is sent with the first bytes,
// so that an answer that cannot be changed from the beginning can be replaced.
type answerEdit struct {
	urls   *gateURLs          // nil if the route has no Edits
	editor *jsonanswer.Editor // nil if the answer stays as it is
	sent   bool               // the header has been sent
	fault  error              // of the store, while it decided on an entry
}

// startEdits begins to change the answer, if the route says so and the answer is a success.
func (w *responseInterceptor) startEdits() bool {
	if w.edit.urls == nil || w.status >= 300 {
		return false
	}
	w.edit.editor = w.call.Route.Edits.Editor(w.edit.urls.appendURL, w.mayList)
	for _, name := range []string{"Content-Length", "Etag", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		delete(w.header, name) // they are of the backend's body
	}
	if location := w.header.Get("Location"); location != "" {
		w.header.Set("Location", w.edit.urls.url(location))
	}
	return true
}

// mayList sets may for the entries of a list with these jobs that the client may see.
func (w *responseInterceptor) mayList(ids []string, may []bool) {
	if w.edit.fault != nil {
		return
	}
	jobs := w.call.Route.Jobs
	records := make([]string, len(ids))
	for i, id := range ids {
		if dialect.ValidJobID(id) {
			records[i] = jobs.RecordID(id)
		}
	}
	accounts, err := w.store.JobAccounts(w.r.Context(), w.gate.Backend, records)
	if err != nil {
		w.edit.fault = err
		return
	}
	for i, account := range accounts {
		switch {
		case records[i] == "":
		case account == "":
			may[i] = w.gate.rules.UnrecordedJobs
		default:
			may[i] = account == w.record.Owner.AccountID
		}
	}
}

// sendEdited changes the next bytes of the answer, and sends them.
func (w *responseInterceptor) sendEdited(p []byte) (int, error) {
	out, err := w.edit.editor.Next(p)
	if err == nil {
		err = w.edit.fault
	}
	if err != nil {
		return len(p), w.failEdit(err)
	}
	w.startEdited(len(out) > 0)
	if len(out) > 0 {
		if err := w.send(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// startEdited sends the header before the first bytes.
func (w *responseInterceptor) startEdited(begins bool) {
	if begins && !w.edit.sent {
		w.edit.sent = true
		w.sendHeader()
	}
}

// failEdit answers in place of an answer that cannot be changed. If a part of it has gone to the
// client, it returns the error, so that the answer breaks off.
func (w *responseInterceptor) failEdit(err error) error {
	if w.edit.sent {
		w.gate.logger.Error("answer broken off", append(w.record.LogFields(), zap.Error(err))...)
		return err
	}
	if w.edit.fault != nil {
		w.replace(w.gate.api.Refusal(w.call, policy.StoreUnavailable), "deciding on an entry of a list: "+err.Error())
	} else {
		w.replace(w.gate.api.GatewayError(w.call), "changing the answer: "+err.Error())
	}
	return nil
}

// finishEdits ends a changed answer. An answer that is not complete must not look complete to the
// client.
func (w *responseInterceptor) finishEdits() {
	if w.edit.editor == nil {
		return
	}
	if err := w.edit.editor.Close(); err != nil {
		if w.failEdit(err) != nil {
			panic(http.ErrAbortHandler)
		}
		return
	}
	w.startEdited(true)
}

// gateURLs turns a URL of the backend into the URL of the same resource at the gate. Other strings
// stay as they are.
type gateURLs struct {
	secure       bool
	host, prefix string // of the gate

	origin, ours string // of the last URL: those of a list begin alike
}

// newGateURLs returns the URLs with which the client of r reaches the gate. r is the request as the gate
// has got it: handlers behind the gate may change its path.
func newGateURLs(r *http.Request) *gateURLs {
	secure, host := r.TLS != nil, r.Host
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if proto := firstOf(r.Header, "X-Forwarded-Proto"); proto != "" {
			secure = strings.EqualFold(proto, "https")
		}
		if name := firstOf(r.Header, "X-Forwarded-Host"); name != "" {
			host = name
		}
	}
	prefix := ""
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		if stripped, ok := strings.CutSuffix(original.URL.EscapedPath(), r.URL.EscapedPath()); ok {
			prefix = stripped // by a handler in front of the gate, such as handle_path
		}
	}
	return &gateURLs{secure: secure, host: host, prefix: prefix}
}

// appendURL appends the URL to dst.
func (g *gateURLs) appendURL(dst, text []byte) []byte {
	if len(text) >= len(g.origin) && string(text[:len(g.origin)]) == g.origin && isPlainPath(text[len(g.origin):]) {
		return append(append(dst, g.ours...), text[len(g.origin):]...)
	}
	return append(dst, g.url(string(text))...)
}

func (g *gateURLs) url(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return text
	}
	var scheme string
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		scheme = "http"
	case "ws", "wss":
		scheme = "ws"
	default:
		return text
	}
	if g.secure {
		scheme += "s"
	}
	_, rest, _ := strings.Cut(text, "//")
	path := ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		path = rest[i:]
	}
	g.origin, g.ours = text[:len(text)-len(path)], scheme+"://"+g.host+g.prefix
	return g.ours + path
}

// isPlainPath reports whether s can follow the origin of a URL as it is, and has no character that a
// URL may not have.
func isPlainPath(s []byte) bool {
	for _, c := range s {
		if !plainInPath[c] {
			return false
		}
	}
	return len(s) > 0 && (s[0] == '/' || s[0] == '?')
}

// plainInPath has the characters that a URL can have anywhere behind its origin.
var plainInPath = func() (table [256]bool) {
	for c := range table {
		b := byte(c)
		table[c] = '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || strings.IndexByte("/-_.~?&=", b) >= 0
	}
	return table
}()

// firstOf returns the first item of a list in a header field.
func firstOf(header http.Header, name string) string {
	item, _, _ := strings.Cut(header.Get(name), ",")
	return strings.TrimSpace(item)
}
