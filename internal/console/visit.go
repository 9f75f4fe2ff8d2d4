package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// visit is one request for a page.
type visit struct {
	*Console

	w       http.ResponseWriter
	r       *http.Request
	caller  Caller
	now     policy.Time
	store   *keystore.Store
	token   policy.Secret            // of the session; empty without a session
	session *keystore.ConsoleSession // nil without a session
	manager *manage.Manager          // nil without a session whose user has passed

	names map[string]string // of accounts that the page shows, by ID

	lang    language.Tag
	printer *message.Printer
	theme   string // light, dark or auto
	zone    *time.Location
	zoned   bool // the reader has chosen the zone
}

type callerKey struct{}

func withCaller(r *http.Request, caller Caller) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
}

const (
	// pageTime limits how long a page waits for the keystore.
	pageTime = 30 * time.Second
	// maxForm is the largest form that a page takes, in bytes.
	maxForm = 64 << 10
)

// entrance returns the handler of a route: everything that is the same for all pages.
func (c *Console) entrance(rt *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTime)
		defer cancel()
		r = r.WithContext(ctx)
		caller, _ := ctx.Value(callerKey{}).(Caller)
		v := &visit{Console: c, w: w, r: r, caller: caller, now: c.settings.Gateway.Now()}
		v.readPreferences()
		if err := v.enter(rt); err != nil { //nolint:contextcheck // v.r has the context
			v.fail(err)
		}
	}
}

func (v *visit) enter(rt *route) error {
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		v.r.Body = http.NoBody // FormValue would read a form with files, and put it on the disk
	} else {
		if v.caller.EarlyData {
			return v.problem(http.StatusTooEarly, "Try again", "The request came too early in the connection. Send it again.")
		}
		if err := v.origins.Check(v.r); err != nil {
			return v.problem(http.StatusForbidden, "Not sent from this page", "The request came from another site, so nothing was done. Open the page here, and try again.")
		}
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		if err := v.r.ParseForm(); err != nil {
			return v.problem(http.StatusBadRequest, "The form cannot be read", "The form is too large or damaged, so nothing was done.")
		}
	}
	store, release, err := v.settings.Gateway.Open()
	if err != nil {
		return err
	}
	defer release()
	v.store = store
	if err := v.findSession(rt.access); err != nil {
		return err
	}
	switch rt.access.admit(v.session) {
	case enter:
		return rt.serve(v)
	case mustSign:
		return v.redirect(v.below("sign-in") + v.next())
	case mustProve:
		return v.redirect(v.below("code") + v.next())
	case isSigned:
		return v.redirect(v.settings.Path)
	default:
		return v.notFound()
	}
}

// findSession finds the session of the request, if it goes on.
func (v *visit) findSession(a access) error {
	cookie, err := v.r.Cookie(v.hostCookie(sessionName))
	if err != nil {
		return nil //nolint:nilerr // no cookie is no session
	}
	token := policy.NewSecret(cookie.Value)
	find := v.settings.SignIn.Session
	if a == watchers {
		find = v.settings.SignIn.Peek
	}
	session, err := find(v.r.Context(), v.try(), token)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if at := session.User.Identity.Issuer; at != "" && !v.isProvider(at) {
		return nil // the configuration does not name the provider any more
	}
	v.token, v.session = token, &session
	if session.Passed {
		actor := keystore.Actor{Kind: session.User.Kind, ID: session.User.ID, From: v.caller.Client}
		server := v.settings.Gateway
		v.manager = &manage.Manager{Store: v.store, Actor: actor, Now: v.now, Gates: server.Gates(), LimitUse: server.LimitUse(v.store), Cut: server.CutStream, IsProvider: v.isProvider}
	}
	return nil
}

// isProvider reports whether operators can sign in at the provider with this issuer.
func (c *Console) isProvider(issuer string) bool {
	return c.settings.Provider != nil && c.settings.Provider.Issuer() == issuer
}

func (v *visit) try() signin.Try {
	return signin.Try{Store: v.store, Now: v.now, From: v.caller.Client}
}

// user returns the signed-in user, or nil.
func (v *visit) user() *keystore.ConsoleUser {
	if v.session == nil || !v.session.Passed {
		return nil
	}
	return &v.session.User
}

// form returns a field of the form, without space around it.
func (v *visit) form(name string) string { return strings.TrimSpace(v.r.PostForm.Get(name)) }

// secret returns a field of the form as it was typed.
func (v *visit) secret(name string) policy.Secret {
	return policy.NewSecret(v.r.PostForm.Get(name))
}

// sendJSON answers a request of the script.
func (v *visit) sendJSON(status int, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(body) // if the reader is gone, nobody reads the error
	return nil
}

// redirect sends the reader to a URL of the console.
func (v *visit) redirect(to string) error {
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// nextForm is what next can be: the path of a page, below the path of the console.
var nextForm = regexp.MustCompile(`^[a-z][A-Za-z0-9_-]*(/[A-Za-z0-9_-]+)*$`)

// next returns the query that leads back to the page of this request, after a sign-in.
func (v *visit) next() string {
	below := strings.TrimPrefix(v.r.URL.Path, v.settings.Path)
	if v.r.Method != http.MethodGet || !nextForm.MatchString(below) {
		return ""
	}
	return "?" + url.Values{"next": {below}}.Encode()
}

// wanted returns the URL of the page that the reader wanted before the sign-in. The text is
// from the client, so it can name pages of the console only.
func (v *visit) wanted() string {
	if below := v.r.FormValue("next"); nextForm.MatchString(below) {
		return v.settings.Path + below
	}
	return v.settings.Path
}

// notFound shows the page for what does not exist, or does not exist for the user.
func (v *visit) notFound() error {
	return v.problem(http.StatusNotFound, "Not found", "There is no such page or record.")
}

// problem shows a page with a problem. The texts are keys of the catalog.
func (v *visit) problem(status int, title, text string, args ...any) error {
	return v.render(status, "problem", title, v.T(text, args...))
}

// fail shows the page for an error that no page has handled.
func (v *visit) fail(err error) {
	wait, waits := errors.AsType[*signin.WaitError](err)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		err = v.notFound()
	case waits:
		v.w.Header().Set("Retry-After", strconv.Itoa(wait.Seconds))
		err = v.problem(http.StatusTooManyRequests, "Too many tries", "Too many tries have failed. Wait %d seconds, and try again.", wait.Seconds)
	case errors.Is(err, signin.ErrBusy):
		v.w.Header().Set("Retry-After", "5")
		err = v.problem(http.StatusServiceUnavailable, "Busy", "Too many people are signing in. Try again in a few seconds.")
	case errors.Is(err, keystore.ErrUnavailable), v.store == nil:
		v.settings.Failed(v.r, err)
		v.w.Header().Set("Retry-After", "5")
		err = v.problem(http.StatusServiceUnavailable, "Not available", "The keystore cannot be reached right now. Nothing is lost. Try again in a moment.")
	case errors.Is(err, keystore.ErrInvalid), errors.Is(err, keystore.ErrAccountClosed), errors.Is(err, keystore.ErrAccountSuspended):
		err = v.problem(http.StatusConflict, "Not done", "Nothing was changed: %s.", v.mistake(err))
	default:
		v.settings.Failed(v.r, err)
		err = v.problem(http.StatusInternalServerError, "Not done", "Something went wrong here. The server's log says what.")
	}
	if err != nil {
		v.settings.Failed(v.r, fmt.Errorf("writing a page: %w", err))
	}
}

// isMistake reports whether an error is about what the reader has sent.
func (v *visit) isMistake(err error) bool { return errors.Is(err, keystore.ErrInvalid) }

// mistake returns the text of an error of package manage in the reader's language.
func (v *visit) mistake(err error) string { return v.say(manage.Phrase(err, fieldNames{v})) }

// fieldOf returns the name of the field that an error is about, or "".
func fieldOf(err error) string {
	if mistake, ok := errors.AsType[*manage.FieldError](err); ok {
		return mistake.Field
	}
	return ""
}

// fieldNames are the names that messages have for fields.
type fieldNames struct{ v *visit }

// Field returns the name of a field.
func (n fieldNames) Field(name string) string { return n.v.T(strings.ReplaceAll(name, "_", " ")) }

// List returns "": a page has no command that lists records.
func (fieldNames) List(manage.Kind) string { return "" }
