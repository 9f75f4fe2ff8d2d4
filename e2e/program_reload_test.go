package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// reload gives the gateway another configuration through its admin endpoint, and returns the answer. If the
// gateway takes the configuration, reload waits until the listener before is closed.
func (p *program) reload(admin, config string) (status int, answer string) {
	p.t.Helper()
	var resp *http.Response
	p.eventually("the admin endpoint answers, which each reload closes and opens again", func() bool {
		var err error
		resp, err = http.Post("http://"+admin+"/load", "text/caddyfile", strings.NewReader(config))
		return err == nil
	})
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections() // they lead to the servers before the reload
	base, err := url.Parse(p.base)
	if err != nil {
		p.t.Fatal(err)
	}
	p.eventually("one listener is left: the kernel resets connections that one before has not accepted", func() bool {
		return p.listeners(base.Port()) <= 1
	})
	return resp.StatusCode, string(body)
}

// listeners returns how many sockets listen on a TCP port. It is 0 if the system is not Linux.
func (p *program) listeners(port string) (n int) {
	p.t.Helper()
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		table, err := os.ReadFile(path)
		if err != nil {
			continue // another system, or no IPv6
		}
		for line := range strings.Lines(string(table)) {
			const listening = "0A"
			fields := strings.Fields(line)
			if len(fields) > 3 && fields[3] == listening && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) {
				n++
			}
		}
	}
	return n
}
