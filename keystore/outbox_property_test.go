package keystore

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// Whatever the order in which the database goes and comes back, gateways start again, answers are lost, other gateways create
// jobs, and states are seen: each job that was recorded is in the database in the end, once and with the state that
// was seen last, or it is in the file with the reason why the database has another job of this name.
func TestAdmitJobs_Property(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	other := openStore(t, "", inPostgres(dsn))
	owner, _ := other.key(other.account().ID)
	stranger, _ := other.key(other.account().ID)
	dir, inputs := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		inputs++
		cfg := []func(*Config){inPostgres(dsn), admitting(filepath.Join(dir, fmt.Sprint(inputs)))}
		var f fixture
		open := func() {
			f = openStore(t, "", cfg...)
			f.waitForReplica()
			f.takeOverPolling()
		}
		open()
		defer func() { _ = f.Close() }()
		ours, theirs := make(map[string]policy.Job), make(map[string]policy.Job)
		job := func(k policy.Key, id string) policy.Job {
			return policy.Job{Backend: "amivoice", ID: fmt.Sprintf("%d-%s", inputs, id), Dialect: "amivoice", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start}
		}
		ids := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"})
		create := func(lost bool) {
			j := job(owner, ids.Draw(r, "id"))
			_, known := ours[j.ID]
			err := f.CreateJob(t.Context(), j)
			if err == nil && lost { // and the client of the store has tried again at the site
				if err := f.outbox.create(t.Context(), &j, fault(errAway)); err != nil && !errors.Is(err, ErrJobExists) {
					r.Fatal(err)
				}
			}
			switch {
			case err == nil && known && f.away() == nil:
				r.Fatalf("job %s was recorded twice", j.ID)
			case err == nil && known: // the replica lacks the job, and the site cannot know that the database has it
			case err == nil:
				ours[j.ID] = j
			case !errors.Is(err, ErrJobExists) || !known && theirs[j.ID].ID == "":
				r.Fatalf("job %s: %v", j.ID, err)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"create":                     func(*rapid.T) { create(false) },
			"create, the answer is lost": func(*rapid.T) { create(true) },
			"another gateway creates": func(*rapid.T) {
				j := job(stranger, ids.Draw(r, "id"))
				if err := other.CreateJob(t.Context(), j); err == nil {
					theirs[j.ID] = j
				} else if !errors.Is(err, ErrJobExists) {
					r.Fatal(err)
				}
			},
			"a state is seen": func(*rapid.T) {
				j := job(owner, ids.Draw(r, "id"))
				j, known := ours[j.ID]
				state := rapid.SampledFrom(policy.JobStates()).Draw(r, "state")
				if !known || theirs[j.ID].ID != "" {
					return
				}
				at := start.Add(time.Duration(rapid.IntRange(1, 100).Draw(r, "second")) * time.Second)
				if err := f.SetJobState(t.Context(), j.Backend, j.ID, state, at); err != nil {
					if f.away() == nil {
						r.Fatal(err)
					}
					return // the database has the job, and does not answer
				}
				if advances(&j, state) {
					if j.State = state; state.Ended() {
						j.EndedAt = at
					}
					ours[j.ID] = j
				}
			},
			"the database goes": func(*rapid.T) { f.feed.failures.Store(awayAfter) },
			"it comes back":     func(*rapid.T) { f.feed.failures.Store(0) },
			"jobs are sent":     func(*rapid.T) { f.outbox.step(t.Context()) },
			"the gateway starts again": func(*rapid.T) {
				if !rapid.SampledFrom([]bool{true, false, false}).Draw(r, "now") { // it takes long
					return
				}
				if err := f.Close(); err != nil {
					r.Fatal(err)
				}
				open()
			},
			"": func(*rapid.T) {
				for _, j := range ours {
					if theirs[j.ID].ID != "" {
						continue
					}
					got, err := f.FindJobFor(t.Context(), owner.AccountID, j.Backend, j.ID)
					if away := f.away() != nil; err == nil && !sameJob(got, j) || err != nil && (!away || !errors.Is(err, ErrUnavailable)) {
						r.Fatalf("job %s, away %t: %+v %v", j.ID, away, got, err)
					}
				}
			},
		})
		f.feed.failures.Store(0)
		for f.outbox.sender.away = false; f.waiting().Waiting > 0; {
			f.outbox.step(t.Context())
		}
		for _, j := range ours {
			got, err := other.Job(t.Context(), j.Backend, j.ID)
			if err != nil {
				r.Fatal(err)
			}
			if got == j {
				continue
			}
			var refused int
			if err := f.outbox.file.Load().Reader().QueryRow(`SELECT COUNT(*) FROM jobs WHERE id = $1 AND refused <> ''`, j.ID).Scan(&refused); err != nil {
				r.Fatal(err)
			}
			if got != theirs[j.ID] || refused != 1 {
				r.Fatalf("the database has %+v, want %+v; refused %d times", got, j, refused)
			}
		}
	})
}
