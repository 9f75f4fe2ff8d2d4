package console

import (
	"net/http"

	"github.com/speechgate/speechgate/internal/manage"
)

// accountList is the data of the page accounts.
type accountList struct {
	Accounts []manage.Account
	Next     string
	First    bool
	Status   string
	Find     string
	Statuses []string
	Problem  string
}

func accountsPage(v *visit) error {
	query := v.r.URL.Query()
	l := &accountList{Status: query.Get("status"), Find: query.Get("find"), First: query.Get("cursor") == "", Statuses: manage.AccountStatuses()}
	if l.Find != "" {
		a, err := v.manager.Account(v.r.Context(), l.Find)
		switch {
		case err == nil:
			return v.redirect(v.below("operator/accounts", a.ID))
		case !v.isMistake(err) && !isAbsent(err):
			return err
		}
		l.Problem = v.mistake(err)
		return v.render(http.StatusNotFound, "accounts", "Accounts", l)
	}
	accounts, err := v.manager.Accounts(v.r.Context(), manage.AccountQuery{
		Page: manage.Page{Limit: rowsPerPage, Cursor: query.Get("cursor")}, Status: l.Status, NewestFirst: true,
	})
	if v.isMistake(err) {
		l.Problem = v.mistake(err)
		return v.render(http.StatusBadRequest, "accounts", "Accounts", l)
	}
	if err != nil {
		return err
	}
	l.Accounts, l.Next = accounts.Items, string(accounts.Next)
	return v.show("accounts", "Accounts", l)
}

// accountDetail is the data of the page account.
type accountDetail struct {
	manage.Account

	Done    string
	Problem string
	// SetupURL is a link for the holder; empty if none was made just now.
	SetupURL   string
	SetupUntil manage.Time
}

func (v *visit) accountDetail() (*accountDetail, error) {
	id := v.r.PathValue("id")
	if err := manage.CheckID("account_id", manage.KindAccount, id); err != nil {
		return nil, errNoSuch
	}
	a, err := v.manager.Account(v.r.Context(), id)
	return &accountDetail{Account: a, Done: v.done()}, err
}

func accountPage(v *visit) error {
	a, err := v.accountDetail()
	if err != nil {
		return err
	}
	return v.show("account", "Account", a)
}

// changeAccount changes the account of the page, and shows it again.
func (v *visit) changeAccount(done string, change func(id string) error) error {
	a, err := v.accountDetail()
	if err != nil {
		return err
	}
	switch err := change(a.ID); {
	case v.isMistake(err):
		a.Problem = v.mistake(err)
		return v.render(http.StatusUnprocessableEntity, "account", "Account", a)
	case err != nil:
		return err
	}
	return v.redirect(v.below("operator/accounts", a.ID) + "?done=" + done)
}

func renameAccount(v *visit) error {
	return v.changeAccount("account-renamed", func(id string) error {
		_, err := v.manager.RenameAccount(v.r.Context(), id, v.form("name"))
		return err
	})
}

func suspendAccount(v *visit) error {
	return v.changeAccount("account-suspended", func(id string) error {
		_, err := v.manager.SuspendAccount(v.r.Context(), id, v.form("reason"))
		return err
	})
}

func resumeAccount(v *visit) error {
	return v.changeAccount("account-resumed", func(id string) error {
		_, err := v.manager.ResumeAccount(v.r.Context(), id)
		return err
	})
}

func closeAccount(v *visit) error {
	return v.changeAccount("account-closed", func(id string) error {
		_, err := v.manager.CloseAccount(v.r.Context(), id, v.form("confirm") == "yes")
		return err
	})
}

// inviteAccount makes a link for the holder of an account, and shows it once.
func inviteAccount(v *visit) error {
	a, err := v.accountDetail()
	if err != nil {
		return err
	}
	i, err := v.manager.InviteAccount(v.r.Context(), a.ID, v.consoleURL())
	switch {
	case v.isMistake(err):
		a.Problem = v.mistake(err)
		return v.render(http.StatusUnprocessableEntity, "account", "Account", a)
	case err != nil:
		return err
	}
	a.SetupURL, a.SetupUntil = i.SetupURL.Reveal(), i.ExpiresAt
	return v.show("account", "Account", a)
}

// consoleURL returns the URL of the start page: the configured one, or that by which the reader has
// reached it.
func (v *visit) consoleURL() string {
	if v.settings.URL != "" {
		return v.settings.URL
	}
	scheme := "http://"
	if v.caller.HTTPS {
		scheme = "https://"
	}
	return scheme + v.r.Host + v.settings.Path
}
