package console

import (
	"html/template"
	"net/http"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// explainForm is the data of the page explain.
type explainForm struct {
	KeyID, ClientIP, At   string
	Method, Path          string
	Dialect, Backend      string
	Dialects              []string
	Methods               []string
	Paths                 []string
	Explanation           *manage.Explanation // nil before the form was sent
	Problem, ProblemField string
}

func (v *visit) explainForm() *explainForm {
	f := &explainForm{Method: http.MethodPost, Path: "/v1/recognize", Dialects: v.apis(), Methods: []string{"GET", "POST", "DELETE", "PUT", "HEAD"}}
	if len(f.Dialects) == 0 {
		f.Dialects = dialect.Names()
	}
	f.Dialect = f.Dialects[0]
	if v.caller.Client.IsValid() {
		f.ClientIP = v.caller.Client.String()
	}
	return f
}

func explainPage(v *visit) error {
	f := v.explainForm()
	f.KeyID = v.r.URL.Query().Get("key")
	if !strings.HasPrefix(f.KeyID, "key_") {
		f.KeyID = ""
	}
	return v.show("explain", "Explain", f)
}

// explain says what would be decided on a request. A key itself is in the body of the form, and
// the page does not repeat it.
func explain(v *visit) error {
	f := v.explainForm()
	f.ClientIP, f.At, f.Method, f.Path = v.form("client-ip"), v.form("at"), v.form("method"), v.form("path")
	f.Dialect, f.Backend = v.form("dialect"), v.form("backend")
	r := manage.ExplainRequest{ClientIP: f.ClientIP, At: f.At, Method: f.Method, Path: f.Path, Dialect: f.Dialect, Backend: f.Backend}
	if key := v.form("key"); strings.HasPrefix(key, "key_") {
		f.KeyID, r.KeyID = key, key
	} else {
		r.Key = policy.NewSecret(key)
	}
	e, err := v.manager.Explain(v.r.Context(), r)
	switch {
	case v.isMistake(err) || isAbsent(err):
		f.Problem, f.ProblemField = v.mistake(err), fieldOf(err)
		return v.render(http.StatusUnprocessableEntity, "explain", "Explain", f)
	case err != nil:
		return err
	}
	f.Explanation = e
	return v.show("explain", "Explain", f)
}

// storeHealth is the data of the page health.
type storeHealth struct {
	manage.StoreHealth

	Fault   string // why the server cannot decide on requests; empty if it can
	Streams int
}

func healthPage(v *visit) error {
	store, err := v.manager.StoreHealth(v.r.Context())
	if err != nil {
		return err
	}
	_, streams := v.settings.Gateway.Streams(0)
	h := &storeHealth{StoreHealth: store, Streams: streams}
	if err := v.settings.Gateway.Ready(v.r.Context()); err != nil {
		h.Fault = err.Error()
	}
	return v.show("health", "Health", h)
}

// Bytes returns a size for people.
func (v *visit) Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	size := float64(n)
	unit := 0
	for size >= 1024 && unit < len(units)-1 {
		size /= 1024
		unit++
	}
	if unit == 0 {
		return v.printer.Sprintf("%d %s", n, units[unit])
	}
	return v.printer.Sprintf("%.1f %s", size, units[unit])
}

// Rate returns how many of all lookups a cache has answered, in percent.
func (v *visit) Rate(c keystore.CacheStats) string {
	all := c.Hits + c.Misses
	if all == 0 {
		return "–"
	}
	return v.printer.Sprintf("%.1f %%", 100*float64(c.Hits)/float64(all))
}

// Millis returns a duration in milliseconds, for people.
func (v *visit) Millis(d time.Duration) string { return v.printer.Sprintf("%d ms", d.Milliseconds()) }

// ruleNames are the names of the rules of an explanation, for readers of another language than English.
var ruleNames = map[string]string{
	"operation": "Operation", "early_data": "Early data", "credential": "Credential", "key": "Key", "account": "Account",
	"revocation": "Revocation or suspension", "deletion": "Deletion", "address": "Address", "path": "Path", "expiry": "Expiry",
	"job": "Job", "issuance": "Issuance right", "limits": "Limits",
}

// RuleName returns a rule for people: its word, which the command line and the documentation have too,
// and in Japanese its name before it.
func (v *visit) RuleName(word string) template.HTML {
	code := "<code>" + template.HTMLEscapeString(word) + "</code>"
	if v.lang != language.Japanese {
		return template.HTML(code) //nolint:gosec // escaped
	}
	return template.HTML(template.HTMLEscapeString(v.T(ruleNames[word])) + "<br>" + code) //nolint:gosec // escaped
}

// Verdict returns the verdict of a rule for people.
func (v *visit) Verdict(word string) string { return v.T(strings.ReplaceAll(word, "_", " ")) }
