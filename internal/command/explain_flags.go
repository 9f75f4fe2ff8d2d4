package command

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/words"
)

func questionOfFlags(cmd *cobra.Command) (q question, err error) {
	if q.keyID, err = keyOfFlags(cmd); err != nil {
		return q, err
	}
	texts := make(map[string]string)
	for _, flag := range []struct{ name, want string }{
		{"ip", "the client's address, such as 192.0.2.7"},
		{"method", "the request's method, such as POST"},
		{"path", "the request's path, such as /v1/recognize"},
		{"dialect", "the API's name, such as " + dialect.AmiVoice.Name},
	} {
		if texts[flag.name], err = textFlag(cmd, flag.name); err != nil {
			return q, err
		}
		if texts[flag.name] == "" {
			return q, fmt.Errorf("--%s is missing: want %s", flag.name, flag.want)
		}
	}
	if q.client, err = parseClient(texts["ip"]); err != nil {
		return q, err
	}
	if q.method = texts["method"]; strings.Trim(q.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return q, fmt.Errorf("--method %s: want a method in capitals, such as GET or POST", words.Quote(q.method))
	}
	if q.path, err = parsePath(texts["path"]); err != nil {
		return q, err
	}
	if _, err := choiceFlag(cmd, "dialect", dialect.Names()); err != nil {
		return q, err
	}
	q.api, _ = dialect.ByName(texts["dialect"])
	at, err := textFlag(cmd, "at")
	if err != nil || at == "" {
		return q, err
	}
	if q.at, err = parseInstant(at); err != nil {
		return q, fmt.Errorf("--at %s: %w: want an instant such as %s", words.Quote(at), err, exampleInstant(currentTime().Std()))
	}
	return q, nil
}

// keyOfFlags returns the ID of the key in question; empty if the key is to be
// read.
func keyOfFlags(cmd *cobra.Command) (string, error) {
	id, err := textFlag(cmd, "key-id")
	if err != nil {
		return "", err
	}
	stdin, err := cmd.Flags().GetBool("key-stdin")
	switch {
	case err != nil:
		return "", err
	case stdin && id != "":
		return "", errors.New("--key-id and --key-stdin name a key each: want one of them")
	case stdin:
		return "", checkInput(cmd)
	case id == "":
		return "", fmt.Errorf("no key is named: want --key-id with a key's ID, as %q shows it, or --key-stdin", app.Program+" "+listOfKeys)
	}
	if err := checkKeyID(id); err != nil {
		return "", fmt.Errorf("--key-id %w", err)
	}
	return id, nil
}

func parsePath(text string) (*url.URL, error) {
	path, err := url.ParseRequestURI(text)
	if err != nil || !strings.HasPrefix(text, "/") || strings.ContainsAny(text, "?#") {
		return nil, fmt.Errorf("--path %s: want a path that begins with a slash, without query, such as /v1/recognize", words.Quote(text))
	}
	return path, nil
}

func parseClient(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err == nil {
		return addr.Unmap(), nil
	}
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return addr, fmt.Errorf("--ip %s: want the address without the port, %s", words.Quote(text), withPort.Addr())
	}
	return addr, fmt.Errorf("--ip %s: want one address, such as 192.0.2.7 or 2001:db8::7", words.Quote(text))
}
