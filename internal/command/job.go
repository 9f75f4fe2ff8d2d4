package command

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

const graceHelp = `

The grace window of a job is how long the key that created it goes on reading it
after the key expired. It is counted with the longest grace of the job's backend
in the configuration, and without one with the default, 24h.`

func jobCommand() *cobra.Command {
	list := Leaf("list [--account <account ID>]", "Lists the recorded jobs, oldest first", NoArgument, listJobs)
	list.Long = list.Short + "." + graceHelp
	list.Flags().String("account", "", "List the jobs of this account only")

	show := Leaf("show <job ID> [--backend <name>]", "Shows a recorded job", oneArgument, showJob)
	show.Long = show.Short + "." + graceHelp
	show.Flags().String("backend", "", "The backend that the job ID is of, where several have such a job")

	return group("job", "Lists and shows the asynchronous jobs that passed through the gateway", list, show)
}

func listJobs(cmd *cobra.Command, _ []string) error {
	var q manage.JobQuery
	if err := textFlags(cmd, flagInto{"account", &q.AccountID}); err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		all, err := manage.All(func(page manage.Page) (manage.List[manage.Job], error) {
			q.Page = page
			return s.manager.Jobs(s.ctx, q)
		})
		if err != nil {
			return err
		}
		return printAll(
			s, all, "There are no recorded jobs.",
			[]string{"JOB ID", "BACKEND", "ACCOUNT ID", "KEY ID", "STATE", "CREATED", "GRACE UNTIL"},
			func(j manage.Job) []string {
				return []string{
					j.ID, j.Backend, j.AccountID, j.KeyID, j.State,
					shortTime(j.CreatedAt, "-"), shortTime(j.GraceUntil, "none"),
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
		j, err := s.manager.Job(s.ctx, args[0], backend)
		if err != nil {
			return err
		}
		return s.print(
			j,
			[]string{"Job ID", j.ID},
			[]string{"Backend", j.Backend},
			[]string{"Dialect", j.Dialect},
			[]string{"Account ID", j.AccountID},
			[]string{"Key ID", j.KeyID},
			[]string{"Client", cmp.Or(string(j.ClientIP), "unknown")},
			[]string{"State", j.State},
			[]string{"Created", shortTime(j.CreatedAt, "-")},
			[]string{"Ended", shortTime(j.EndedAt, "not seen yet")},
			[]string{"Grace until", shortTime(j.GraceUntil, "none")},
		)
	})
}
