package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const graceHelp = `

The grace window of a job is how long the key that created it goes on reading it
after the key expired. It is counted with the longest grace of the job's backend
in the configuration that --config names, and without one with the default, 24h.`

func jobCommand() *cobra.Command {
	list := Leaf("list [--account <account ID>]", "Lists the recorded jobs, oldest first", NoArgument, listJobs)
	list.Long = list.Short + "." + graceHelp
	list.Flags().String("account", "", "List the jobs of this account only")

	show := Leaf("show <job ID> [--backend <name>]", "Shows a recorded job", oneArgument, showJob)
	show.Long = show.Short + "." + graceHelp
	show.Flags().String("backend", "", "The backend that the job ID is of, where several have such a job")

	return group("job", "Lists and shows the asynchronous jobs that passed through the gateway", list, show)
}

// jobResult is a job in JSON.
type jobResult struct {
	JobID      string  `json:"job_id"`
	AccountID  string  `json:"account_id"`
	KeyID      string  `json:"key_id"`
	Backend    string  `json:"backend"`
	Dialect    string  `json:"dialect"`
	ClientIP   *string `json:"client_ip"`
	CreatedAt  *string `json:"created_at"`
	State      string  `json:"state"`
	EndedAt    *string `json:"ended_at"`
	GraceUntil *string `json:"grace_until"`
}

func (s *session) jobAsJSON(j policy.Job) jobResult {
	result := jobResult{
		JobID:      j.ID,
		AccountID:  j.AccountID,
		KeyID:      j.KeyID,
		Backend:    j.Backend,
		Dialect:    j.Dialect,
		CreatedAt:  words.TimeText(j.CreatedAt),
		State:      j.State.String(),
		EndedAt:    words.TimeText(j.EndedAt),
		GraceUntil: words.TimeText(s.gates.until(&j)),
	}
	if j.Client.IsValid() {
		text := j.Client.String()
		result.ClientIP = &text
	}
	return result
}

func listJobs(cmd *cobra.Command, _ []string) error {
	account, err := accountFlag(cmd)
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		if err := s.checkAccount(account); err != nil {
			return err
		}
		all, err := allPages(func(cursor string) ([]policy.Job, string, error) {
			return s.store.Jobs(s.ctx, keystore.JobList{AccountID: account, Limit: listPage, Cursor: cursor})
		})
		if err != nil {
			return err
		}
		return printAll(
			s, all, s.jobAsJSON, "There are no recorded jobs.",
			[]string{"JOB ID", "BACKEND", "ACCOUNT ID", "KEY ID", "STATE", "CREATED", "GRACE UNTIL"},
			func(j policy.Job) []string {
				return []string{
					j.ID, j.Backend, j.AccountID, j.KeyID, j.State.String(),
					shortTime(j.CreatedAt, "-"), shortTime(s.gates.until(&j), "none"),
				}
			},
		)
	})
}

func showJob(cmd *cobra.Command, args []string) error {
	backend, err := textFlag(cmd, "backend")
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		j, err := s.findJob(args[0], backend)
		if err != nil {
			return err
		}
		client := "unknown"
		if j.Client.IsValid() {
			client = j.Client.String()
		}
		return s.print(
			s.jobAsJSON(j),
			[]string{"Job ID", j.ID},
			[]string{"Backend", j.Backend},
			[]string{"Dialect", j.Dialect},
			[]string{"Account ID", j.AccountID},
			[]string{"Key ID", j.KeyID},
			[]string{"Client", client},
			[]string{"State", j.State.String()},
			[]string{"Created", shortTime(j.CreatedAt, "-")},
			[]string{"Ended", shortTime(j.EndedAt, "not seen yet")},
			[]string{"Grace until", shortTime(s.gates.until(&j), "none")},
		)
	})
}

// findJob returns the one job of that ID, of whichever backend where none is
// named.
func (s *session) findJob(id, backend string) (policy.Job, error) {
	var jobs []policy.Job
	var err error
	if backend == "" {
		jobs, err = s.store.JobsByID(s.ctx, id)
	} else {
		var j policy.Job
		if j, err = s.store.Job(s.ctx, backend, id); err == nil {
			return j, nil
		}
	}
	switch {
	case err != nil && !errors.Is(err, keystore.ErrNotFound):
		return policy.Job{}, err
	case len(jobs) == 1:
		return jobs[0], nil
	case len(jobs) > 1:
		names := make([]string, len(jobs))
		for i, j := range jobs {
			names[i] = j.Backend
		}
		return policy.Job{}, fmt.Errorf("job %q exists on %d backends: choose one with --backend, of %s", id, len(jobs), strings.Join(names, ", "))
	}
	return policy.Job{}, noJob(id, backend)
}

// noJob says that a job is not recorded. An ID of something else may be what
// was typed, and even a secret.
func noJob(id, backend string) error {
	if kind := kindOf(id); kind != "" {
		return fmt.Errorf("%s is %s: want a job ID, as %q shows it", words.Quote(id), kind, app.Program+" "+listOfJobs)
	}
	on := ""
	if backend != "" {
		on = fmt.Sprintf(" of backend %q", backend)
	}
	return fmt.Errorf("there is no record of a job %q%s: it may have been pruned, or not created through this gateway", id, on)
}
