package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// errNoSuch is the error of a page about a record that does not exist.
var errNoSuch = keystore.ErrNotFound

func isAbsent(err error) bool { return errors.Is(err, keystore.ErrNotFound) }

// keyList is the data of the pages keys and all-keys.
type keyList struct {
	Done                            string
	Keys                            []manage.Key
	Next                            string
	First                           bool
	Account, Status, Origin, Search string
	IssuedBy, Sort                  string
	Reverse                         bool
	Filtered                        bool
	Statuses, Origins, Sorts        []string
	Problem                         string
}

func allKeysPage(v *visit) error { return v.listKeys("all-keys", v.r.URL.Query().Get("account")) }

// listKeys shows the keys that the query of the URL selects, of one account or of all.
func (v *visit) listKeys(page, account string) error {
	query := v.r.URL.Query()
	l := &keyList{
		Done: v.done(), First: query.Get("cursor") == "", Account: account, Status: query.Get("status"), Origin: query.Get("origin"),
		Search: query.Get("search"), IssuedBy: query.Get("issued-by"), Sort: query.Get("sort"), Reverse: query.Get("reverse") == "yes",
		Statuses: manage.KeyStatuses(), Origins: manage.KeyOrigins(), Sorts: manage.KeySorts(),
	}
	l.Filtered = l.Account+l.Status+l.Origin+l.Search+l.IssuedBy+l.Sort != "" || l.Reverse
	q := manage.KeyQuery{
		Page: manage.Page{Limit: rowsPerPage, Cursor: query.Get("cursor")}, AccountID: l.Account, Status: l.Status, Origin: l.Origin,
		Search: l.Search, IssuedBy: l.IssuedBy, Sort: l.Sort, NewestFirst: l.Reverse, Bounded: true,
	}
	if l.Search != "" {
		q.Sort, q.NewestFirst = "", false // those of a search are in the order of their labels
	} else if l.Sort == "" || l.Sort == "issued" {
		q.NewestFirst = !l.Reverse // the newest key first
	}
	keys, err := v.manager.Keys(v.r.Context(), q)
	switch {
	case v.isMistake(err):
		l.Problem = v.mistake(err)
		return v.render(http.StatusBadRequest, page, "Keys", l)
	case isAbsent(err):
		l.Problem = v.mistake(err)
		return v.render(http.StatusNotFound, page, "Keys", l)
	case err != nil:
		return err
	}
	l.Keys, l.Next = keys.Items, string(keys.Next)
	return v.show(page, "Keys", l)
}

// anyKey is the data of the page any-key.
type anyKey struct {
	manage.Key

	Limits  []manage.UsedLimit
	Ended   bool
	Done    string
	Problem string
}

func (v *visit) anyKey() (*anyKey, error) {
	id := v.r.PathValue("id")
	if err := manage.CheckID("key_id", manage.KindKey, id); err != nil {
		return nil, errNoSuch
	}
	key, err := v.manager.Key(v.r.Context(), id)
	if err != nil {
		return nil, err
	}
	limits, err := v.manager.KeyLimits(v.r.Context(), id, "")
	ended := key.Status != manage.StatusActive && key.Status != "suspended"
	return &anyKey{Key: key, Limits: limits.Limits, Ended: ended, Done: v.done()}, err
}

func anyKeyPage(v *visit) error {
	k, err := v.anyKey()
	if err != nil {
		return err
	}
	return v.show("any-key", "Key", k)
}

// changeKey changes the key of the page, and shows it again.
func (v *visit) changeKey(done string, change func(id string) error) error {
	k, err := v.anyKey()
	if err != nil {
		return err
	}
	switch err := change(k.ID); {
	case v.isMistake(err):
		k.Problem = v.mistake(err)
		return v.render(http.StatusUnprocessableEntity, "any-key", "Key", k)
	case err != nil:
		return err
	}
	return v.redirect(v.below("operator/keys", k.ID) + "?done=" + done)
}

func revokeKey(v *visit) error {
	return v.changeKey("key-revoked", func(id string) error {
		_, err := v.manager.RevokeKey(v.r.Context(), id, manage.Revocation{Reason: v.form("reason"), WithChildren: v.form("children") == "yes"})
		return err
	})
}

func suspendKey(v *visit) error {
	return v.changeKey("key-suspended", func(id string) error {
		_, err := v.manager.SuspendKey(v.r.Context(), id, v.form("reason"))
		return err
	})
}

func resumeKey(v *visit) error {
	return v.changeKey("key-resumed", func(id string) error {
		_, err := v.manager.ResumeKey(v.r.Context(), id)
		return err
	})
}

// leaked is the data of the page leaked.
type leaked struct {
	Key     *manage.LeakedKey // nil before a key was found
	Problem string
}

func leakedPage(v *visit) error { return v.show("leaked", "A key leaked", &leaked{}) }

// findLeaked finds the key of a text that was pasted. The text is in the body of the request, so
// that no log has it, and the page does not repeat it.
func findLeaked(v *visit) error {
	key, err := v.manager.Leaked(v.r.Context(), policy.NewSecret(v.form("key")))
	if v.isMistake(err) || isAbsent(err) {
		return v.render(http.StatusUnprocessableEntity, "leaked", "A key leaked", &leaked{Problem: v.mistake(err)})
	}
	if err != nil {
		return err
	}
	return v.show("leaked", "A key leaked", &leaked{Key: &key})
}

// forecastList is the data of the page forecast.
type forecastList struct {
	Keys            []manage.EndingKey
	Next            string
	First           bool
	Within, Account string
	Spans           []string
	Problem         string
}

func forecastPage(v *visit) error {
	query := v.r.URL.Query()
	l := &forecastList{Within: query.Get("within"), Account: query.Get("account"), First: query.Get("cursor") == "", Spans: []string{"1d", "7d", "14d", "30d", "90d"}}
	if l.Within == "" {
		l.Within = "14d"
	}
	keys, err := v.manager.Forecast(v.r.Context(), manage.ForecastQuery{
		Page: manage.Page{Limit: rowsPerPage, Cursor: query.Get("cursor")}, Within: l.Within, AccountID: l.Account,
	})
	switch {
	case v.isMistake(err):
		l.Problem = v.mistake(err)
		return v.render(http.StatusBadRequest, "forecast", "Expiry forecast", l)
	case isAbsent(err):
		l.Problem = v.mistake(err)
		return v.render(http.StatusNotFound, "forecast", "Expiry forecast", l)
	case err != nil:
		return err
	}
	l.Keys, l.Next = keys.Items, string(keys.Next)
	return v.show("forecast", "Expiry forecast", l)
}

// SpanText returns a duration such as 14d for people.
func (v *visit) SpanText(span string) string {
	days := strings.TrimSuffix(span, "d")
	switch days {
	case "1":
		return v.T("one day")
	default:
		return v.T("%s days", days)
	}
}

// SortLink returns the link of a heading that sorts a list by its column. A second click turns the
// order around.
func (p *page) SortLink(name string) string {
	query := url.Values{}
	for key, values := range p.r.URL.Query() {
		if key != "cursor" && key != "done" && key != "reverse" && key != "search" {
			query[key] = values
		}
	}
	current := query.Get("sort")
	if current == "" {
		current = "issued"
	}
	query.Set("sort", name)
	if current == name && p.r.URL.Query().Get("reverse") != "yes" {
		query.Set("reverse", "yes")
	}
	return p.r.URL.EscapedPath() + "?" + query.Encode()
}

// Sorted returns the value of aria-sort for the heading of a column.
func (p *page) Sorted(name string) string {
	l, ok := p.Data.(*keyList)
	sort := "none"
	if ok && l.Search == "" && (l.Sort == name || l.Sort == "" && name == "issued") {
		sort = "ascending"
		if l.Reverse != (name == "issued") {
			sort = "descending"
		}
	}
	return sort
}
