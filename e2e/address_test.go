package e2e_test

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
)

// TestR4_AClientBehindAProxyCannotChooseItsAddress runs the proxies as docs/proxies.md
// says, and sends forged fields through them. The client is 127.0.0.2, the proxies 127.0.0.1.
func TestR4_AClientBehindAProxyCannotChooseItsAddress(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has the address 127.0.0.2 on every machine")
	}
	p := newProgram(t, `{
	admin off
	servers {
		trusted_proxies static 127.0.0.1/32
		trusted_proxies_strict
	}
}
http://:8080 {
	speechgate amivoice
	speechgate_sandbox amivoice
}
`)
	p.start()
	account := p.account()
	_, own := p.key(account, "--allow", "127.0.0.2")
	_, forged := p.key(account, "--allow", "192.0.2.99")
	gate := strings.Replace(strings.TrimPrefix(p.base, "http://"), "localhost", "127.0.0.1", 1)
	for name, start := range map[string]func(t *testing.T) string{
		"nginx that appends": func(t *testing.T) string {
			return startNginx(t, gate, "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;")
		},
		"nginx that replaces": func(t *testing.T) string {
			return startNginx(t, gate, "proxy_set_header X-Forwarded-For $remote_addr;")
		},
		"HAProxy with forwardfor": func(t *testing.T) string { return startHAProxy(t, "server gate "+gate) },
		"Apache":                  func(t *testing.T) string { return startApache(t, gate) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := start(t)
			for _, field := range []string{"", "192.0.2.99", "192.0.2.99, 127.0.0.1"} {
				if body := recognizeFrom(t, "127.0.0.2", addr, own, field); !strings.Contains(body, `"code":""`) {
					t.Errorf("X-Forwarded-For %q: the key of the client's address is refused: %s", field, body)
				}
				if body := recognizeFrom(t, "127.0.0.2", addr, forged, field); !strings.Contains(body, `"code":"-"`) {
					t.Errorf("X-Forwarded-For %q: the key of the forged address is let in: %s", field, body)
				}
			}
		})
	}
}

// TestR4_AClientBehindHAProxyInTCPMode runs HAProxy and the gateway as docs/proxies.md says. HAProxy passes
// bytes on, with the address of the client in a PROXY header. HAProxy is 127.0.0.1.
func TestR4_AClientBehindHAProxyInTCPMode(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has the address 127.0.0.2 on every machine")
	}
	servers := strings.NewReplacer(":8443", ":8080", "10.0.0.1/32", "127.0.0.1/32").Replace(codeAfter(t, "proxies.md", "servers :8443 {"))
	p := newProgram(t, testutil.Caddyfile{
		Options: servers,
		Sites: `http://:8080 {
	speechgate amivoice
	speechgate_sandbox amivoice
}
`,
	}.String())
	p.start()
	account := p.account()
	_, own := p.key(account, "--allow", "127.0.0.2")
	_, forged := p.key(account, "--allow", "192.0.2.99")
	_, proxys := p.key(account, "--allow", "127.0.0.1")
	gate := strings.Replace(strings.TrimPrefix(p.base, "http://"), "localhost", "127.0.0.1", 1)
	haproxy := startTCPHAProxy(t, gate)
	v1 := []byte("PROXY TCP4 192.0.2.99 127.0.0.1 1234 80\r\n")
	v2 := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x63\x7f\x00\x00\x01\x04\xd2\x00\x50")
	for name, test := range map[string]struct {
		source, addr, key string
		preamble          []byte // in front of the request
		code              string
	}{
		"an allowed address":                           {"127.0.0.2", haproxy, own, nil, ""},
		"a refused address":                            {"127.0.0.3", haproxy, own, nil, "-"},
		"the address of HAProxy":                       {"127.0.0.2", haproxy, proxys, nil, "-"},
		"an allowed address without HAProxy":           {"127.0.0.2", gate, own, nil, ""},
		"a made-up header without HAProxy":             {"127.0.0.2", gate, forged, v2, "-"},
		"a made-up header of version 1":                {"127.0.0.2", gate, forged, v1, "-"},
		"a header that does not count, and an address": {"127.0.0.2", gate, own, v2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, field := range []string{"", "192.0.2.99", "127.0.0.2"} {
				if body := recognizeFrom(t, test.source, test.addr, test.key, field, test.preamble...); !strings.Contains(body, `"code":"`+test.code+`"`) {
					t.Errorf("X-Forwarded-For %q: want the code %q, got %s", field, test.code, body)
				}
			}
		})
	}
}

// recognizeFrom sends a recognition from a source address and returns the answer. The connection
// begins with preamble.
func recognizeFrom(t *testing.T, source, addr, key, forwardedFor string, preamble ...byte) string {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, field := range [][2]string{{"u", key}, {"d", "-a-general"}, {"c", "LSB16K"}, {"a", strings.Repeat("\x00", 3200)}} {
		if err := form.WriteField(field[0], field[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/v1/recognize", &body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	if forwardedFor != "" {
		req.Header.Set("X-Forwarded-For", forwardedFor)
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: 10 * time.Second}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err == nil && len(preamble) > 0 {
			_, err = conn.Write(preamble)
		}
		return conn, err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
