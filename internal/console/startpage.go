package console

import (
	"github.com/speechgate/speechgate/internal/manage"
)

// startData is the data of the start page.
type startData struct {
	Done    string
	Account *manage.Account
	API     string   // its URL
	APIs    []string // the names of the APIs that the gates speak
	Second  bool     // the user has a second factor
}

func startPage(v *visit) error {
	if v.IsOperator() {
		return overviewPage(v)
	}
	s := startData{Done: v.done(), Second: !v.user().SecondFactor.Empty()}
	account, err := v.manager.Account(v.r.Context(), v.user().ID)
	if err != nil {
		return err
	}
	s.Account, s.API, s.APIs = &account, v.apiURL(), v.apis()
	return v.show("start", "Connection", s)
}

// apiURL returns the URL of the API for examples.
func (v *visit) apiURL() string {
	if v.settings.APIURL != "" {
		return v.settings.APIURL
	}
	return v.origin()
}

// origin returns the origin by which the reader has reached the console.
func (v *visit) origin() string {
	if v.caller.HTTPS {
		return "https://" + v.r.Host
	}
	return "http://" + v.r.Host
}

// apis returns the names of the APIs that the gates of the configuration speak.
func (v *visit) apis() (names []string) {
	seen := make(map[string]bool)
	for _, gate := range v.settings.Gateway.Gates().Gates {
		if !seen[gate.Dialect] {
			seen[gate.Dialect] = true
			names = append(names, gate.Dialect)
		}
	}
	return names
}
