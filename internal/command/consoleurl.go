package command

import (
	"bytes"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/console"
	"github.com/speechgate/speechgate/internal/manage"
)

// consoleURLOf returns the URL of the console: the flag --url, or the address that the
// configuration tells. Without both it returns the default path.
func consoleURLOf(cmd *cobra.Command) (string, error) {
	named, err := textFlag(cmd, flagURL)
	if err != nil {
		return "", err
	}
	if named != "" {
		return named, manage.CheckConsoleURL(named)
	}
	c, err := configOf(cmd)
	if err != nil {
		return "", err
	}
	found, err := c.consoleURLs()
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return console.DefaultPath, nil
	case len(found) > 1:
		return "", usagef("the configuration has several consoles: choose one with --%s, of %s", flagURL, strings.Join(found, ", "))
	}
	return found[0], nil
}

// httpServer is what the address of a console depends on.
type httpServer struct {
	Listen    []string          `json:"listen"`
	Routes    json.RawMessage   `json:"routes"`
	Policies  []json.RawMessage `json:"tls_connection_policies"`
	Automatic struct {
		Disable bool     `json:"disable"`
		Skip    []string `json:"skip"`
	} `json:"automatic_https"`
}

// consoleURLs returns the URLs of the consoles of a configuration.
func (c configuration) consoleURLs() (urls []string, err error) {
	var config struct {
		Apps struct {
			HTTP struct {
				HTTPPort int                   `json:"http_port"`
				Servers  map[string]httpServer `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := c.decode(&config); err != nil {
		return nil, err
	}
	httpPort := 80
	if config.Apps.HTTP.HTTPPort != 0 {
		httpPort = config.Apps.HTTP.HTTPPort
	}
	for _, server := range config.Apps.HTTP.Servers {
		var routes any
		dec := json.NewDecoder(bytes.NewReader(server.Routes))
		dec.UseNumber()
		if server.Routes == nil || dec.Decode(&routes) != nil {
			continue
		}
		err := findConsoles(routes, "", func(host string, console *console.Console) {
			u := console.StartURL()
			if u.Host == "" {
				u.Scheme, u.Host = server.origin(host, httpPort)
			}
			if text := u.String(); !slices.Contains(urls, text) {
				urls = append(urls, text)
			}
		})
		if err != nil {
			return nil, kindConfiguration.of(err)
		}
	}
	slices.Sort(urls)
	return urls, nil
}

// findConsoles calls found for each console in a part of a configuration, with the first host
// that the routes around it match.
func findConsoles(config any, host string, found func(host string, c *console.Console)) error {
	switch node := config.(type) {
	case []any:
		for _, child := range node {
			if err := findConsoles(child, host, found); err != nil {
				return err
			}
		}
	case map[string]any:
		if node["handler"] == "speechgate_console" {
			c := new(console.Console)
			err := decodeHandler(node, c)
			found(host, c)
			return err
		}
		if named := hostOf(node["match"]); named != "" {
			host = named
		}
		for _, child := range node {
			if err := findConsoles(child, host, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// hostOf returns the first host of matchers that a browser can reach, or "".
func hostOf(matchers any) string {
	sets, _ := matchers.([]any)
	for _, set := range sets {
		members, _ := set.(map[string]any)
		hosts, _ := members["host"].([]any)
		for _, host := range hosts {
			if text, _ := host.(string); text != "" && !strings.ContainsAny(text, "*{") {
				return text
			}
		}
	}
	return ""
}

// origin returns the scheme and the host of a site of the server.
func (s *httpServer) origin(host string, httpPort int) (scheme, address string) {
	port := ""
	if len(s.Listen) > 0 {
		if _, after, err := net.SplitHostPort(s.Listen[0]); err == nil {
			port, _, _ = strings.Cut(after, "-")
		}
	}
	plain := port == strconv.Itoa(httpPort) || len(s.Policies) == 0 && (host == "" || s.Automatic.Disable || slices.Contains(s.Automatic.Skip, host))
	scheme = "https"
	if plain {
		scheme = "http"
	}
	if host == "" {
		host = "localhost"
	}
	if port == "" || port == "443" && !plain || port == "80" && plain {
		return scheme, host
	}
	return scheme, net.JoinHostPort(strings.Trim(host, "[]"), port)
}
