package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

const flagAddress = "address"

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
	for _, cmd := range []*cobra.Command{list, cut} {
		cmd.Flags().String(flagAddress, "", "The address of the running server's admin API, such as localhost:2019")
	}
	return streams
}

func listStreams(cmd *cobra.Command, _ []string) error {
	var all []admin.StreamInfo
	if err := askServer(cmd, http.MethodGet, admin.StreamsPath, nil, &all); err != nil {
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
	if err := askServer(cmd, http.MethodPost, admin.CutPath, order, &result); err != nil {
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

// adminAddress returns the address of the running server's admin API.
func adminAddress(cmd *cobra.Command) (string, error) {
	address, err := textFlag(cmd, flagAddress)
	if err != nil || address != "" {
		return address, cmp.Or(err, checkAddress(address))
	}
	c, err := configOf(cmd)
	if err != nil {
		return "", err
	}
	var config struct {
		Admin caddy.AdminConfig `json:"admin"`
	}
	if err := c.decode(&config); err != nil {
		return "", err
	}
	switch {
	case config.Admin.Disabled:
		return "", kindServer.of(fmt.Errorf("%s: it switches the admin API off, which this command needs: \"key revoke\" and \"account close\" work without", c.source))
	case config.Admin.Listen == "":
		return caddy.DefaultAdminListen, nil
	}
	return config.Admin.Listen, nil
}

// checkAddress refuses a text that cannot be the value of --address.
func checkAddress(address string) error {
	const want = "want a host and a port, such as localhost:2019, or a socket, such as unix//run/caddy/admin.sock"
	if strings.Contains(address, "://") {
		return usagef("--%s %q is a URL: %s", flagAddress, address, want)
	}
	if _, err := caddy.ParseNetworkAddress(address); err != nil {
		return usagef("--%s %q: %w: %s", flagAddress, address, err, want)
	}
	return nil
}

// refusalForm matches Caddy's error for a request that the admin API has refused, and finds
// the JSON of the answer in it.
var refusalForm = regexp.MustCompile(`HTTP (400|404): (\{.*\})`)

// serversRefusal returns the error of a request that names a key or an account that does not
// exist, or the name of several accounts; nil for every other error.
func serversRefusal(err error) error {
	if err == nil {
		return nil
	}
	found := refusalForm.FindStringSubmatch(err.Error())
	var body struct {
		Error string `json:"error"`
	}
	if found == nil || json.Unmarshal([]byte(found[2]), &body) != nil {
		return nil //nolint:nilerr // the caller reports err
	}
	switch {
	case found[1] == "404" && strings.HasPrefix(body.Error, "there is no "):
		return kindNotFound.of(errors.New(body.Error))
	case found[1] == "400":
		return kindUsage.of(errors.New(body.Error))
	}
	return nil
}

// askServer sends a request to the running server's admin API, and decodes the answer.
func askServer(cmd *cobra.Command, method, path string, body, answer any) error {
	address, err := adminAddress(cmd)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	header := make(http.Header)
	if body != nil {
		header.Set("Content-Type", "application/json")
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, path, header, &text)
	if refused := serversRefusal(err); refused != nil {
		return refused
	}
	if err != nil {
		return kindServer.of(fmt.Errorf("asking the server at %s: %w; name another with --%s or --%s", address, err, flagAddress, flagConfig))
	}
	defer func() { _ = resp.Body.Close() }() // the answer was read
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return kindServer.of(fmt.Errorf("the answer of the server at %s: %w", address, err))
	}
	return nil
}
