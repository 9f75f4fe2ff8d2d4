package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/admin"
)

const flagAddress = "address"

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
		return "", kindServer.of(&noServerError{
			c.source + ": it switches the admin API off, which this command needs: \"key revoke\" and \"account close\" work without",
			c.source + " switches the admin API off",
		})
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

// noServerError says that no server answers.
type noServerError struct {
	text  string
	short string // a part of a sentence
}

func (e *noServerError) Error() string { return e.text }

// refusalForm matches Caddy's error for a request that the admin API has refused, and finds
// the JSON of the answer in it.
var refusalForm = regexp.MustCompile(`HTTP (400|404|503): (\{.*\})`)

// serversRefusal returns the error of a request that the admin API has refused for a reason that
// is the caller's, or that is in the keystore; nil for every other error.
func serversRefusal(err error) error {
	if err == nil {
		return nil
	}
	found := refusalForm.FindStringSubmatch(err.Error())
	var problem admin.Problem
	if found == nil || json.Unmarshal([]byte(found[2]), &problem) != nil || problem.Detail == "" {
		return nil //nolint:nilerr // the caller reports err
	}
	detail := problem.Detail
	if rest, ok := strings.CutPrefix(detail, problem.Field+" "); ok && problem.Field != "" {
		detail = strings.TrimSpace(cliNames{}.Field(problem.Field) + " " + rest)
	}
	refused := errors.New(detail)
	switch {
	case found[1] == "503":
		return kindKeystore.of(fmt.Errorf("the server cannot decide on requests: %w", refused))
	case found[1] == "404" && strings.HasPrefix(problem.Detail, "there is no "):
		return kindNotFound.of(refused)
	case found[1] == "400":
		return kindUsage.of(refused)
	}
	return nil
}

// askServer sends a request to the running server's admin API, and decodes the answer. It returns
// the address of the admin API. If no server answers, the error is a noServerError.
func askServer(cmd *cobra.Command, method, path string, body, answer any) (address string, err error) {
	if address, err = adminAddress(cmd); err != nil {
		return "", err
	}
	var text bytes.Buffer
	header := http.Header{"Speechgate-Operator": {operator().ID}}
	if body != nil {
		header.Set("Content-Type", "application/json")
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return "", err
		}
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, path, header, &text)
	if refused := serversRefusal(err); refused != nil {
		return "", refused
	}
	if err != nil {
		message := fmt.Sprintf("asking the server at %s: %v; name another with --%s or --%s", address, err, flagAddress, flagConfig)
		if strings.HasPrefix(err.Error(), "performing request: ") { // Caddy does not wrap the error
			return "", kindServer.of(&noServerError{message, "no server answers at " + address})
		}
		return "", kindServer.of(errors.New(message))
	}
	defer func() { _ = resp.Body.Close() }() // the answer was read
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return "", kindServer.of(fmt.Errorf("the answer of the server at %s: %w", address, err))
	}
	return address, nil
}
