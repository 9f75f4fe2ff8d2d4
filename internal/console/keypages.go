package console

import (
	"net/http"

	"github.com/speechgate/speechgate/internal/manage"
)

// rowsPerPage is how many records a list shows at a time.
const rowsPerPage = 50

func keysPage(v *visit) error { return v.listKeys("keys", "") }

// keyDetail is the data of the page key.
type keyDetail struct {
	manage.Key

	Done      string
	Deletable bool
	Ended     bool
	Problem   string
}

func (v *visit) keyDetail(id string) (*keyDetail, error) {
	key, err := v.manager.Key(v.r.Context(), id)
	if err != nil {
		return nil, err
	}
	ended := key.Status != manage.StatusActive && key.Status != "suspended"
	return &keyDetail{Key: key, Deletable: key.Origin == "console" && key.DeletedAt.IsZero() && key.RevokedAt.IsZero(), Ended: ended}, nil
}

func keyPage(v *visit) error {
	k, err := v.keyDetail(v.r.PathValue("id"))
	if v.isMistake(err) {
		return v.notFound()
	}
	if err != nil {
		return err
	}
	k.Done = v.done()
	return v.show("key", "Key", k)
}

func deleteKey(v *visit) error {
	id := v.r.PathValue("id")
	_, err := v.manager.DeleteKey(v.r.Context(), id)
	if v.isMistake(err) {
		return v.keyProblem(id, err)
	}
	if err != nil {
		return err
	}
	return v.redirect(v.below("keys") + "?done=key-deleted")
}

func renameKey(v *visit) error {
	id := v.r.PathValue("id")
	_, err := v.manager.RenameKey(v.r.Context(), id, v.form("label"))
	if v.isMistake(err) {
		return v.keyProblem(id, err)
	}
	if err != nil {
		return err
	}
	return v.redirect(v.below("keys", id) + "?done=key-renamed")
}

// keyProblem shows a key again, with what is wrong with a change of it.
func (v *visit) keyProblem(id string, mistake error) error {
	k, err := v.keyDetail(id)
	if v.isMistake(err) {
		return v.notFound()
	}
	if err != nil {
		return err
	}
	k.Problem = v.mistake(mistake)
	return v.render(http.StatusUnprocessableEntity, "key", "Key", k)
}

// jobList is the data of the page jobs.
type jobList struct {
	Jobs    []manage.Job
	Next    string
	First   bool
	Key     string
	Problem string
}

func jobsPage(v *visit) error {
	query := v.r.URL.Query()
	l := &jobList{Key: query.Get("key"), First: query.Get("cursor") == ""}
	jobs, err := v.manager.Jobs(v.r.Context(), manage.JobQuery{Page: manage.Page{Limit: rowsPerPage, Cursor: query.Get("cursor")}, KeyID: l.Key, NewestFirst: true})
	if v.isMistake(err) {
		l.Problem = v.mistake(err)
		return v.render(http.StatusBadRequest, "jobs", "Jobs", l)
	}
	if err != nil {
		return err
	}
	l.Jobs, l.Next = jobs.Items, string(jobs.Next)
	return v.show("jobs", "Jobs", l)
}
