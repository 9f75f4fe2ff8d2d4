package console

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

// accountList is the data of the page accounts.
type accountList struct {
	Accounts []manage.Account
	Next     string
	First    bool
	Status   string
	Search   string
	Statuses []string
	Problem  string
}

func accountsPage(v *visit) error {
	query := v.r.URL.Query()
	l := &accountList{Status: query.Get("status"), Search: strings.TrimSpace(query.Get("search")), First: query.Get("cursor") == "", Statuses: manage.AccountStatuses()}
	accounts, err := v.manager.Accounts(v.r.Context(), manage.AccountQuery{
		Page: manage.Page{Limit: rowsPerPage, Cursor: query.Get("cursor")}, Status: l.Status, Search: l.Search, NewestFirst: true,
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
	Once    string // makes the form of a rotation work once only
	// SetupURL is a link for the holder; empty if none was made just now.
	SetupURL   string
	SetupUntil manage.Time

	Keys     []manage.Key // the newest
	Jobs     []manage.Job // the newest
	Usage    manage.Usage // of the last 30 days
	Refusals []manage.Usage
}

// ShowAccount makes the tables leave out the account.
func (*accountDetail) ShowAccount() bool { return false }

func (v *visit) accountDetail() (*accountDetail, error) {
	id := v.r.PathValue("id")
	if err := manage.CheckID("account_id", manage.KindAccount, id); err != nil {
		return nil, errNoSuch
	}
	account, err := v.manager.Account(v.r.Context(), id)
	if err != nil {
		return nil, err
	}
	a := &accountDetail{Account: account, Done: v.done(), Once: rand.Text()}
	newest := manage.Page{Limit: fewRows}
	keys, err := v.manager.Keys(v.r.Context(), manage.KeyQuery{Page: newest, AccountID: id, NewestFirst: true})
	if err != nil {
		return nil, err
	}
	jobs, err := v.manager.Jobs(v.r.Context(), manage.JobQuery{Page: newest, AccountID: id, NewestFirst: true})
	if err != nil {
		return nil, err
	}
	a.Keys, a.Jobs = keys.Items, jobs.Items
	a.Usage, a.Refusals, err = v.usageSince("30d", id)
	return a, err
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

// limitAccount changes the limits of an account. The field shows all of them, so a limit that the
// operator has deleted there goes.
func limitAccount(v *visit) error {
	return v.changeAccount("account-limited", func(id string) error {
		changes := strings.Fields(v.form("limits"))
		if len(changes) == 0 {
			changes = []string{"none"}
		}
		if err := manage.CheckLimitChange(changes); err != nil {
			return err
		}
		if changes[0] != "none" {
			changes = append(changes, absentLimits(changes)...)
		}
		_, err := v.manager.LimitAccount(v.r.Context(), id, changes)
		return err
	})
}

// absentLimits returns changes that remove the limits that no text names.
func absentLimits(texts []string) (changes []string) {
	given := "," + strings.Join(texts, ",")
	for _, limit := range policy.LimitNames() {
		if !strings.Contains(given, ","+limit.String()+"=") {
			changes = append(changes, limit.String()+"=none")
		}
	}
	return changes
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
	return v.origin() + v.settings.Path
}
