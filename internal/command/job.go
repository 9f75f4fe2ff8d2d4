package command

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

const graceHelp = `

The grace window of a job is how long the key that created it goes on reading it
after the key expired. It is counted with the longest grace of the job's backend
in the configuration. If no gate of the backend is in it, the
end of the grace is unknown.`

func jobCommand() *cobra.Command {
	list := Leaf("list [flags]", "Lists the recorded jobs, oldest first", NoArgument, listJobs)
	list.Long = list.Short + "." + graceHelp
	list.Flags().String("account", "", "List the jobs of this account only")

	list.Flags().String("key", "", "List only the jobs that the key with this ID created")
	limitFlag(list, "jobs")

	show := Leaf("show <job ID>… [--backend <name>]", "Shows a recorded job", someIDs(manage.KindJob), showJob)
	show.Long = show.Short + "." + graceHelp
	show.Flags().String("backend", "", "The backend that the job ID is of, where several have such a job")

	return group("job", "Lists and shows the asynchronous jobs that passed through the gateway", list, show)
}

func listJobs(cmd *cobra.Command, _ []string) error {
	var q manage.JobQuery
	if err := textFlags(cmd, flagInto{"account", &q.AccountID}, flagInto{"key", &q.KeyID}); err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		all, err := limitedList(cmd, s, func(page manage.Page, newestFirst bool) (manage.List[manage.Job], error) {
			q.Page, q.NewestFirst = page, newestFirst
			return s.manager.Jobs(s.ctx, q)
		})
		if err != nil {
			return err
		}
		for _, j := range all {
			if !j.GraceKnown {
				s.noteGraceUnknown(j.Backend)
				break
			}
		}
		return printAll(
			s, all, "There are no recorded jobs.",
			[]string{"JOB ID", "BACKEND", "ACCOUNT ID", "KEY ID", "STATE", "CREATED", "GRACE UNTIL"},
			func(j manage.Job) []string {
				return []string{
					j.ID, j.Backend, j.AccountID, j.KeyID, j.State,
					shortTime(j.CreatedAt, "-"), graceUntil(j),
				}
			},
		)
	})
}

// graceUntil returns the end of a job's grace window, for people.
func graceUntil(j manage.Job) string {
	if !j.GraceKnown {
		return "unknown"
	}
	return shortTime(j.GraceUntil, "none")
}

// noteGraceUnknown prints why the end of a job's grace window is not known.
func (s *session) noteGraceUnknown(backend string) {
	s.note("The end of the grace is not known: no gate of the backend %q is configured here. Name the server's configuration with --%s.", backend, flagConfig)
}

func showJob(cmd *cobra.Command, args []string) error {
	backend, err := textFlag(cmd, "backend")
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		return s.forEach(args, func(id string) (result, error) {
			j, err := s.manager.Job(s.ctx, id, backend)
			if err != nil {
				return result{}, err
			}
			if !j.GraceKnown {
				s.noteGraceUnknown(j.Backend)
			}
			return result{j, [][]string{
				{"Job ID", j.ID},
				{"Backend", j.Backend},
				{"Dialect", j.Dialect},
				{"Account ID", j.AccountID},
				{"Key ID", j.KeyID},
				{"Upstream key", cmp.Or(string(j.UpstreamKey), "not recorded")},
				{"Client", cmp.Or(string(j.ClientIP), "unknown")},
				{"State", j.State},
				{"Created", shortTime(j.CreatedAt, "-")},
				{"Ended", shortTime(j.EndedAt, "not seen yet")},
				{"Grace until", graceUntil(j)},
			}}, nil
		})
	})
}
