package command

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

func streamCommand() *cobra.Command {
	list := Leaf("list", "Lists the live streams, oldest first", NoArgument, listStreams)
	cut := Leaf("cut <stream ID>|--key <key ID>|--account <account ID>", "Cuts a live stream, or those of a key or an account", atMostOneID, cutStreams)
	cut.SuggestFor = []string{"end", "close", "stop", "kill"}
	cut.Flags().String("key", "", "Cut the streams of the key with this ID")
	cut.Flags().String("account", "", "Cut the streams of the account with this ID or name")
	streams := group("stream", "Lists and cuts live streams", list, cut)
	streams.Long = `Lists and cuts live streams.

These commands ask the running server, through Caddy's admin API: at --address,
else where the configuration has it, else at localhost:2019.
They read no keystore.

To cut a stream does not end its key: the client may begin another. "key revoke",
"key delete" and "account close" cut the streams of what they end by themselves,
and need no admin API for it.`
	addressFlag(list)
	addressFlag(cut)
	return streams
}

func listStreams(cmd *cobra.Command, _ []string) error {
	var all []admin.StreamInfo
	if _, err := askServer(cmd, http.MethodGet, admin.StreamsPath, nil, &all); err != nil {
		return err
	}
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	return printAll(
		s, all, "There are no live streams.",
		[]string{"STREAM ID", "KEY ID", "ACCOUNT ID", "BACKEND", "CLIENT", "BEGUN", "ACCEPTED"},
		func(i admin.StreamInfo) []string {
			return []string{
				i.ID, orDash(textOf(i.KeyID)), orDash(textOf(i.AccountID)), i.Backend,
				orDash(textOf(i.ClientIP)), toSecond(i.BegunAt), orDash(toSecond(textOf(i.AcceptedAt))),
			}
		},
	)
}

func textOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// toSecond returns an instant of the admin API for people, to the second.
func toSecond(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text // empty, or an answer of another server
	}
	return shortTime(manage.Time{Time: policy.At(at)}, text)
}

// cutOrderOf reads the arguments and flags that say which streams to cut.
func cutOrderOf(cmd *cobra.Command, args []string) (order admin.CutOrder, err error) {
	if err := textFlags(cmd, flagInto{"key", &order.KeyID}, flagInto{"account", &order.AccountID}); err != nil {
		return order, err
	}
	if order.AccountID != "" {
		if err := manage.CheckAccount("account_id", order.AccountID); err != nil {
			return order, err
		}
	}
	if len(args) > 0 {
		order.StreamID = args[0]
	}
	if given := order.Given(); given != 1 {
		return order, usagef("want one of a stream's ID, --key and --account, and got %s", howMany(given))
	}
	switch {
	case order.KeyID != "":
		return order, manage.CheckID("key", manage.KindKey, order.KeyID)
	case order.StreamID != "":
		return order, manage.CheckID("", manage.KindStream, order.StreamID)
	}
	return order, nil
}

func howMany(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

func cutStreams(cmd *cobra.Command, args []string) error {
	order, err := cutOrderOf(cmd, args)
	if err != nil {
		return err
	}
	order.Operator = operator().ID
	var result admin.CutResult
	if _, err := askServer(cmd, http.MethodPost, admin.CutPath, order, &result); err != nil {
		return err
	}
	if order.StreamID != "" && result.Cut == 0 {
		return kindNotFound.of(fmt.Errorf("there is no live stream %q: %q shows all streams", order.StreamID, app.Program+" stream list"))
	}
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	if result.AuditError != "" {
		s.note("Warning: the audit trail has no entry about it: %s.", result.AuditError)
	}
	return s.say(result, "Cut %s.", words.Count(result.Cut, "stream"))
}
