package command

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

func explainCommand() *cobra.Command {
	explain := Leaf("explain --key-id <key ID> --ip <address> --method <method> --path <path> [flags]",
		"Says what the gate would decide on a request, and why, rule by rule", NoArgument, explainRequest)
	explain.Long = `Says what the gate would decide on a request, and why, rule by rule, in the order
in which the gate checks the rules. It sends nothing, and changes nothing.

The key is named by its ID, or is the one line of standard input. A token that a
backend has minted is not explained: name the token's owner.

The settings, such as grace, are those of the backend's gate in the configuration;
without a configuration they are the defaults. If several gates have the backend,
the gate with the longest grace counts.

If the configuration has speechgate_issue at the path, a call of the issuance API
is explained, except the values of epi, ipa and limits. Without a configuration, this is
the path /issue_service_authorization.

Requests, streams and audio that count for the limits of the key are those of the
running server, which the command asks through Caddy's admin API: at --address, else
where the configuration has it, else at localhost:2019. If no server answers, it knows
only the audio, from the keystore.

The exit status is 0, whatever the decision.`
	explain.Example = `  $ caddy speechgate explain --key-id key_… --ip 192.0.2.7 --method POST --path /v1/recognize
  $ caddy speechgate explain --key-stdin --ip 192.0.2.7 --method GET --path /v2/recognitions/0123456789abcdef < key.txt`
	flags := explain.Flags()
	flags.String("key-id", "", "ID of the key")
	flags.Bool("key-stdin", false, "Read the key itself from standard input")
	flags.String("ip", "", "The client's address")
	flags.String("at", "", "The instant of the request, in the form of RFC 3339 (default now)")
	flags.String("method", "", "The request's method")
	flags.String("path", "", "The request's path")
	flags.String("dialect", dialect.AmiVoice.Name, "The API that the gate speaks: "+words.Alternatives(dialect.Names()))
	flags.String("backend", "", "The gate's backend name (default the dialect's name, or that of the only one configured)")
	addressFlag(explain)
	return explain
}

func explainRequest(cmd *cobra.Command, _ []string) error {
	r, fromInput, err := explainRequestOfFlags(cmd)
	if err != nil {
		return err
	}
	if err := r.Validate(currentTime()); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		if fromInput {
			lines, err := s.readKeyLines()
			switch {
			case err != nil:
				return err
			case len(lines) > 1:
				return usagef("standard input has %s: want one, the key", words.Count(len(lines), "line"))
			case len(lines) == 1:
				r.Key = lines[0].Secret
			}
		}
		s.manager.LimitUse = func(ctx context.Context, key *policy.Key, op policy.Operation) (manage.LimitUse, error) {
			return s.limitUse(ctx, cmd, key, op)
		}
		e, err := s.manager.Explain(s.ctx, r)
		if err != nil {
			return err
		}
		return s.print(e, explanationRows(e)...)
	})
}

// limitUse asks the running server how much of their limits a key and its account use. If no server
// knows it, the keystore tells what it knows.
func (s *session) limitUse(ctx context.Context, cmd *cobra.Command, key *policy.Key, op policy.Operation) (manage.LimitUse, error) {
	var used manage.KeyLimits
	path := admin.KeysPath + url.PathEscape(key.ID) + admin.LimitsOfKey + "?operation=" + op.String()
	_, err := askServer(cmd, http.MethodGet, path, nil, &used) //nolint:contextcheck // the command has the context
	if err == nil && used.KeyID == key.ID {
		return manage.LimitUse{Limits: used.Limits, Met: used.Met}, nil
	}
	switch none := (*noServerError)(nil); {
	case kindOf(err) == kindUsage:
		return manage.LimitUse{}, err
	case errors.As(err, &none):
		s.note("How many requests and streams count at the moment is not known: %s.", none.short)
	default:
		s.note("How many requests and streams count at the moment is not known: %v.", err)
	}
	return s.manager.StoredLimitUse(ctx, key)
}

// explainRequestOfFlags reads the flags of explain. It also reports whether the key must be
// read from standard input.
func explainRequestOfFlags(cmd *cobra.Command) (r manage.ExplainRequest, fromInput bool, err error) {
	err = textFlags(cmd, flagInto{"key-id", &r.KeyID}, flagInto{"ip", &r.ClientIP}, flagInto{"method", &r.Method},
		flagInto{"path", &r.Path}, flagInto{"dialect", &r.Dialect}, flagInto{"at", &r.At}, flagInto{"backend", &r.Backend})
	if err != nil {
		return r, false, err
	}
	fromInput, err = cmd.Flags().GetBool("key-stdin")
	switch {
	case err != nil:
		return r, false, err
	case fromInput && r.KeyID != "":
		return r, false, usagef("--key-id and --key-stdin name a key each: want one of them")
	case fromInput:
		return r, true, checkInput(cmd)
	case r.KeyID == "":
		return r, false, usagef("no key is named: want --key-id with a key's ID, as %q shows it, or --key-stdin", app.Program+" key list")
	}
	return r, false, nil
}

// explanationRows returns an explanation as rows for people.
func explanationRows(e *manage.Explanation) [][]string {
	decides, sees := []string{"API", e.Backend}, "a new key, if epi and ipa are right"
	if e.Dialect != "" {
		decides, sees = []string{"Gate", string(e.Dialect) + ", backend " + e.Backend}, "the backend's answer"
	}
	rows := [][]string{
		{"Request", e.Method + " " + e.Path},
		{"From", e.ClientIP},
		{"At", e.At.String()},
		decides,
		{""},
		{"RULE", "VERDICT", "WHY"},
	}
	for _, r := range e.Rules {
		rows = append(rows, []string{r.Rule, strings.ReplaceAll(r.Verdict, "_", " "), r.Why.String()})
	}
	decision := "allowed"
	if !e.Allowed {
		decision = "refused"
		sees = strconv.Itoa(e.Answer.Status) + " " + strings.TrimSpace(e.Answer.Body)
	}
	rows = append(rows, []string{""}, []string{"Decision", decision}, []string{"Reason", e.Reason}, []string{"Client sees", sees})
	return append(rows, limitRows(e.Limits)...)
}

// limitRows returns limits as rows for people.
func limitRows(limits []manage.UsedLimit) (rows [][]string) {
	if len(limits) > 0 {
		rows = append(rows, []string{""}, []string{"LIMIT", "OF", "USED"})
	}
	for _, l := range limits {
		used := "-"
		if l.Used != nil {
			used = strconv.FormatInt(*l.Used, 10)
			if strings.HasPrefix(l.Limit, "audio") {
				used += "s"
			}
		}
		rows = append(rows, []string{l.Limit, l.Of, used})
	}
	return rows
}
