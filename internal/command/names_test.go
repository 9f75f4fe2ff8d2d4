package command

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/speechgate/speechgate/internal/manage"
)

// everyCommand returns all commands of a new command line, by what follows "speechgate".
func everyCommand() map[string]*cobra.Command {
	all := make(map[string]*cobra.Command)
	var add func(name string, cmd *cobra.Command)
	add = func(name string, cmd *cobra.Command) {
		all[name] = cmd
		for _, sub := range cmd.Commands() {
			add(strings.TrimSpace(name+" "+sub.Name()), sub)
		}
	}
	for _, cmd := range []*cobra.Command{accountCommand(), keyCommand(), jobCommand(), streamCommand(), auditCommand(), explainCommand(), healthCommand(), whoamiCommand(), initCommand(), backupCommand(), restoreCommand()} {
		add(cmd.Name(), cmd)
	}
	return all
}

func TestCLINames_AreFlagsThatExist(t *testing.T) {
	t.Parallel()
	flags := make(map[string]bool)
	for _, cmd := range everyCommand() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = true })
	}
	for _, field := range []string{
		"account_id", "name", "service_id", "confirm", "expires", "allow", "label", "issuable",
		"status", "issued_by", "expiring", "unused", "overlap", "since", "limit", "head",
		"key_id", "key", "client_ip", "at", "method", "path", "dialect", "backend",
	} {
		if name := (cliNames{}).Field(field); !flags[name] {
			t.Errorf("the field %s is called %q, and no command has this flag", field, name)
		}
	}
	for _, argument := range []string{"", "job_id"} {
		if name := (cliNames{}).Field(argument); name != "" {
			t.Errorf("the argument %q is called %q", argument, name)
		}
	}
}

func TestCLINames_AreListsThatExist(t *testing.T) {
	t.Parallel()
	all := everyCommand()
	for _, kind := range []manage.Kind{manage.KindAccount, manage.KindKey, manage.KindJob, manage.KindStream} {
		name := strings.Trim((cliNames{}).List(kind), `"`)
		if all[strings.TrimPrefix(name, "caddy speechgate ")] == nil {
			t.Errorf("the list of the kind %s is %q, and there is no such command", kind, name)
		}
	}
}
