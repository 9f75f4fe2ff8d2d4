package console

import (
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/manage"
)

// allJobList is the data of the page all-jobs.
type allJobList struct {
	Jobs         []manage.Job
	Next         string
	First        bool
	Account, Key string
	Problem      string
}

func allJobsPage(v *visit) error {
	query := v.r.URL.Query()
	l := &allJobList{First: query.Get("cursor") == "", Account: strings.TrimSpace(query.Get("account")), Key: strings.TrimSpace(query.Get("key"))}
	jobs, err := v.manager.Jobs(v.r.Context(), manage.JobQuery{
		Page: manage.Page{Limit: rowsPerPage, Cursor: query.Get("cursor")}, AccountID: l.Account, KeyID: l.Key, NewestFirst: true,
	})
	switch {
	case v.isMistake(err):
		l.Problem = v.mistake(err)
		return v.render(http.StatusBadRequest, "all-jobs", "Jobs", l)
	case isAbsent(err):
		l.Problem = v.mistake(err)
		return v.render(http.StatusNotFound, "all-jobs", "Jobs", l)
	case err != nil:
		return err
	}
	l.Jobs, l.Next = jobs.Items, string(jobs.Next)
	return v.show("all-jobs", "Jobs", l)
}

// ShowAccount makes the table have the accounts.
func (*allJobList) ShowAccount() bool { return true }
