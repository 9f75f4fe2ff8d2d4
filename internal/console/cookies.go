package console

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/speechgate/speechgate/policy"
)

// The names of the cookies.
const (
	sessionName = "speechgate_session"
	flowName    = "speechgate_oidc"
	langName    = "speechgate_lang"
	themeName   = "speechgate_theme"
	zoneName    = "speechgate_zone" // the script sets it as well
)

// hostCookie returns the name of a cookie that nobody else may set. Over TLS it has a prefix with
// which browsers let no other site and no unencrypted page set it.
func (v *visit) hostCookie(name string) string {
	if v.caller.HTTPS {
		return "__Host-" + name
	}
	return name
}

// setSession gives the reader the token of a session. An empty token removes it.
func (v *visit) setSession(token policy.Secret) {
	v.setSecret(sessionName, token.Reveal(), http.SameSiteStrictMode, 0)
}

// setSecret gives the reader a cookie that only this host can read and set, for some seconds, or
// until the browser ends if maxAge is 0. An empty value removes it.
func (v *visit) setSecret(name, value string, sameSite http.SameSite, maxAge int) {
	cookie := &http.Cookie{ //nolint:gosec // Secure is set over TLS; a console on the own machine can have none
		Name: v.hostCookie(name), Value: value, Path: v.settings.Path, MaxAge: maxAge,
		HttpOnly: true, Secure: v.caller.HTTPS, SameSite: sameSite,
	}
	if v.caller.HTTPS {
		cookie.Path = "/" // as the prefix demands
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(v.w, cookie)
}

// remember gives the reader a cookie with a preference.
func (v *visit) remember(name, value string) {
	cookie := &http.Cookie{ //nolint:gosec // the script reads it, and Secure is set over TLS
		Name: name, Value: value, Path: v.settings.Path, MaxAge: int((400 * 24 * time.Hour).Seconds()),
		Secure: v.caller.HTTPS, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(v.w, cookie)
}

// languages are the languages of the pages; the first one is that of everyone else.
var languages = language.NewMatcher([]language.Tag{language.English, language.Japanese})

// The themes.
var themes = []string{"auto", "light", "dark"}

// readPreferences reads the language, the theme and the time zone of the reader.
func (v *visit) readPreferences() {
	chosen := v.cookie(langName)
	_, index := language.MatchStrings(languages, chosen, v.r.Header.Get("Accept-Language"))
	v.lang = []language.Tag{language.English, language.Japanese}[index]
	v.printer = message.NewPrinter(v.lang, message.Catalog(v.words))
	v.theme = v.cookie(themeName)
	if v.theme != "light" && v.theme != "dark" {
		v.theme = "auto"
	}
	v.zone = time.UTC
	if zone, ok := zoneOf(v.cookie(zoneName)); ok {
		v.zone, v.zoned = zone, true
	}
}

func (v *visit) cookie(name string) string {
	cookie, err := v.r.Cookie(name)
	if err != nil {
		return ""
	}
	return cookie.Value
}

var zoneForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,31}){0,2}$`)

// zoneOf returns the zone with this name of the tz database. It does not look for a file that
// the client names in another way.
func zoneOf(name string) (*time.Location, bool) {
	if !zoneForm.MatchString(name) || strings.EqualFold(name, "local") {
		return nil, false
	}
	zone, err := time.LoadLocation(name)
	return zone, err == nil
}

// savePreferences remembers what the reader has chosen, and returns to the page of the form.
func savePreferences(v *visit) error {
	if lang := v.form("lang"); lang == "en" || lang == "ja" {
		v.remember(langName, lang)
	}
	for _, theme := range themes {
		if v.form("theme") == theme {
			v.remember(themeName, strings.TrimPrefix(theme, "auto"))
		}
	}
	if name := v.form("zone"); v.r.PostForm.Has("zone") {
		if _, ok := zoneOf(name); !ok && name != "" {
			return v.problem(http.StatusBadRequest, "Unknown time zone", "There is no time zone %s. Want a name such as Asia/Tokyo or Europe/Paris.", name)
		}
		v.remember(zoneName, name)
	}
	return v.redirect(v.wanted())
}
