package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/message"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

//go:embed pages/*.html
var pageFiles embed.FS

// readPages parses the templates: each page with the layout and the components.
func readPages() (map[string]*template.Template, error) {
	shared, err := template.ParseFS(pageFiles, "pages/layout.html", "pages/components.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, err
	}
	pages := make(map[string]*template.Template)
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "components" {
			continue
		}
		own, err := shared.Clone()
		if err == nil {
			own, err = own.ParseFS(pageFiles, file)
		}
		if err != nil {
			return nil, err
		}
		pages[name] = own
	}
	return pages, nil
}

// page is the dot of a template. Its methods are for all templates.
type page struct {
	*visit

	Title string // a key of the catalog
	Name  string // of the template
	Data  any    // what the page is about
}

// render answers with a page.
func (v *visit) render(status int, name, title string, data any) error {
	var out bytes.Buffer
	if err := v.pages[name].ExecuteTemplate(&out, "layout", &page{v, title, name, data}); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Length", strconv.Itoa(out.Len()))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(out.Bytes()) // if the reader is gone, nobody reads the error
	return nil
}

// show answers with a page and the status 200.
func (v *visit) show(name, title string, data any) error { return v.render(200, name, title, data) }

// T returns a text in the reader's language. The key is the English text, which can have verbs
// of package fmt. Numbers get separators, and words their plural forms.
func (v *visit) T(key string, args ...any) string {
	return v.printer.Sprintf(message.Key(key, key), args...)
}

// Lang returns the language of the page: en or ja.
func (v *visit) Lang() string { return v.lang.String() }

// Theme returns light, dark or auto.
func (v *visit) Theme() string { return v.theme }

// Service returns the name of the service.
func (v *visit) Service() string { return v.settings.Name }

// Link returns the URL of a page. Each argument is one or several segments of its path, and an
// ID is one.
func (v *visit) Link(segments ...string) string { return v.below(segments...) }

// Here returns the path of this page below the path of the console, for the field next.
func (v *visit) Here() string {
	below := strings.TrimPrefix(v.r.URL.Path, v.settings.Path)
	if v.r.Method != http.MethodGet || !nextForm.MatchString(below) || strings.HasPrefix(below, "setup") || strings.HasPrefix(below, "oidc") {
		return ""
	}
	return below
}

// Asset returns the URL of a file of static.
func (v *visit) Asset(name string) (string, error) {
	hash, ok := v.assets.hashes[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %q", name)
	}
	return v.settings.Path + "assets/" + hash + "/" + name, nil
}

// ProviderName returns the host of the provider at which operators can sign in, or "".
func (v *visit) ProviderName() string {
	if v.settings.Provider == nil {
		return ""
	}
	return v.settings.Provider.Name()
}

// SignedIn reports whether a user is signed in.
func (v *visit) SignedIn() bool { return v.user() != nil }

// IsOperator reports whether an operator is signed in.
func (v *visit) IsOperator() bool { return operators.admit(v.session) == enter }

// IsHolder reports whether the holder of an account is signed in.
func (v *visit) IsHolder() bool { return holders.admit(v.session) == enter }

// UserName returns the name of the signed-in user, for people.
func (v *visit) UserName() string {
	user := v.user()
	switch {
	case user == nil:
		return ""
	case user.Account.Name != "":
		return user.Account.Name
	}
	return user.ID
}

// Is returns the attribute value "page" if the page is in this part of the console.
func (p *page) Is(part string) string {
	below := strings.TrimPrefix(p.r.URL.Path, p.settings.Path)
	if below == part || part != "" && strings.HasPrefix(below, part+"/") {
		return "page"
	}
	return "false"
}

// Zone returns the name of the reader's time zone.
func (v *visit) Zone() string { return v.zone.String() }

// Zoned reports whether the reader has chosen the time zone.
func (v *visit) Zoned() bool { return v.zoned }

// Time returns an instant for people, in the reader's zone. The script shows it in the zone of
// the browser if the reader has chosen no zone.
func (v *visit) Time(t manage.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	return v.instant(t.Time)
}

// zoneOffset returns the zone of an instant, such as UTC+09:00.
func zoneOffset(in time.Time) string {
	return strings.TrimSuffix("UTC"+in.Format("-07:00"), "+00:00")
}

// Moment returns an instant as Time does, with its second.
func (v *visit) Moment(t manage.Time) template.HTML {
	return v.timeElement(t.Time, time.DateTime, " data-seconds")
}

// instant returns an instant as Time does.
func (v *visit) instant(t policy.Time) template.HTML {
	return v.timeElement(t, "2006-01-02 15:04", "")
}

// timeElement returns the element of an instant. In a table the style sheet hides the offset,
// which would be in each row: the zone is in the foot of the page.
func (v *visit) timeElement(t policy.Time, layout, attribute string) template.HTML {
	in := t.Std().In(v.zone)
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s"%s>%s <span class="zone">%s</span></time>`, //nolint:gosec // only digits, the letters of the formats, and the attribute
		t, t, attribute, in.Format(layout), zoneOffset(in)))
}

// Left returns how long it is until an instant, for people; "" if it has passed.
func (v *visit) Left(t policy.Time) string {
	if t <= v.now {
		return ""
	}
	left := time.Duration(t-v.now) * time.Millisecond
	switch {
	case left < time.Minute:
		return v.T("in less than a minute")
	case left < 2*time.Hour:
		return v.T("in %d minutes", int(left.Minutes()))
	case left < 48*time.Hour:
		return v.T("in %d hours", int(left.Hours()))
	default:
		return v.T("in %d days", int(math.Min(left.Hours()/24, 99_999)))
	}
}

// Ago returns how long ago an instant was, for people.
func (v *visit) Ago(t manage.Time) string {
	ago := time.Duration(v.now-t.Time) * time.Millisecond
	switch {
	case t.IsZero():
		return v.T("never")
	case ago < 2*time.Minute:
		return v.T("just now")
	case ago < 2*time.Hour:
		return v.T("%d minutes ago", int(ago.Minutes()))
	case ago < 48*time.Hour:
		return v.T("%d hours ago", int(ago.Hours()))
	default:
		return v.T("%d days ago", int(ago.Hours()/24))
	}
}

// ExpiryTime returns the instant of an expiry as Time does, or the word for none.
func (v *visit) ExpiryTime(e manage.Expiry) template.HTML {
	at, ok := e.Time()
	if !ok {
		return template.HTML(template.HTMLEscapeString(v.T("never expires"))) //nolint:gosec // escaped
	}
	return v.instant(at)
}

// ExpiryLeft returns what Left returns for an expiry; "" for none.
func (v *visit) ExpiryLeft(e manage.Expiry) string {
	at, ok := e.Time()
	if !ok {
		return ""
	}
	return v.Left(at)
}

// Query returns a link to this page with a parameter changed. An empty value removes it. The
// cursor of a list goes, because it belongs to the old parameters.
func (v *visit) Query(name, value string) string {
	query := url.Values{}
	for key, values := range v.r.URL.Query() {
		if key != "cursor" && key != "done" {
			query[key] = values
		}
	}
	if query.Del(name); value != "" {
		query.Set(name, value)
	}
	if len(query) == 0 {
		return v.r.URL.EscapedPath()
	}
	return v.r.URL.EscapedPath() + "?" + query.Encode()
}

// BeganAt returns when the session began, as Time does.
func (v *visit) BeganAt() template.HTML { return v.instant(v.session.BegunAt) }

// Chosen reports whether an operation is chosen in the form of a new key.
func (p *page) Chosen(operation string) bool {
	f, ok := p.Data.(*newKeyForm)
	return ok && slices.Contains(f.Operations, operation)
}

// SignInName returns a name with which a user signs in, for password managers.
func (v *visit) SignInName(u *keystore.ConsoleUser) string {
	if u.Kind == keystore.ActorAccount {
		return u.Account.ServiceID
	}
	return u.ID
}

// AccountName returns the name of an account, for a list. It is the ID if there is no such account.
func (v *visit) AccountName(id string) string {
	if name, ok := v.names[id]; ok {
		return name
	}
	name := id
	if account, err := v.manager.Account(v.r.Context(), id); err == nil {
		name = account.Name
	}
	if v.names == nil {
		v.names = make(map[string]string)
	}
	v.names[id] = name
	return name
}
