package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newRefuser is a gateway at an HTTP and an HTTPS address, and the file of its CA.
func newRefuser(t *testing.T) (p *program, tlsAddr, ca string) {
	t.Helper()
	curl := tool(t, "curl")
	p = newProgram(t, `{
	admin off
	auto_https disable_redirects
	skip_install_trust
}
http://:8080, https://localhost:8081 {
	tls internal
	speechgate amivoice
	speechgate_sandbox amivoice
}
`)
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	tlsAddr = regexp.MustCompile(`localhost:[0-9]+`).FindString(strings.SplitAfter(string(config), "https://")[1])
	p.start()
	ca = filepath.Join(p.dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
	p.eventually("the gateway has a certificate", func() bool {
		return exec.Command(curl, "-s", "--cacert", ca, "https://"+tlsAddr+"/").Run() == nil
	})
	return p, tlsAddr, ca
}

// TestR16_ARefusalReachesClientsThatSend40MB holds that clients over TLS read the refusal as
// it was written, whatever they are still sending.
func TestR16_ARefusalReachesClientsThatSend40MB(t *testing.T) {
	t.Parallel()
	curl := tool(t, "curl")
	_, addr, ca := newRefuser(t)
	const size = 40 << 20
	host, port, _ := net.SplitHostPort(addr)
	const path = "/v1/recognize?u=nobody"
	java := func(version string) func(*testing.T) *exec.Cmd {
		return func(t *testing.T) *exec.Cmd {
			return javaCommand(t, "Upload.java", "https://"+addr+path, fmt.Sprint(size), ca, version)
		}
	}
	byCurl := func(version string) func(*testing.T) *exec.Cmd {
		return func(t *testing.T) *exec.Cmd {
			return exec.Command(curl, "-sS", version, "--cacert", ca, "-H", "Expect:", "-H", "Content-Type: audio/wav", "-o", "-", "--data-binary", "@"+clientFile(t, "zeros", string(make([]byte, size))),
				"-w", `%{stderr}%{http_code} %header{x-session-id}`, "https://"+addr+path)
		}
	}
	for name, client := range map[string]func(*testing.T) *exec.Cmd{
		"Java over HTTP/1.1": java("HTTP_1_1"),
		"Java over HTTP/2":   java("HTTP_2"),
		"curl over HTTP/1.1": byCurl("--http1.1"),
		"curl over HTTP/2":   byCurl("--http2"),
		"Node's fetch": func(t *testing.T) *exec.Cmd {
			cmd := exec.Command(tool(t, "node"), filepath.Join("testdata", "clients", "upload.mjs"), "https://"+addr+path, fmt.Sprint(size))
			cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca)
			return cmd
		},
		"Python's http.client": func(t *testing.T) *exec.Cmd {
			return exec.Command(tool(t, "python3"), filepath.Join("testdata", "clients", "upload.py"), host, port, path, fmt.Sprint(size), ca)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			cmd := client(t)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// The JDK's client waits for minutes where an HTTP/2 stream is reset.
			kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			if kill.Stop(); err != nil {
				t.Fatalf("%v: %s", err, &stderr)
			}
			head, body := stderr.String(), stdout.String()
			if !strings.HasPrefix(name, "curl") {
				head, body, _ = strings.Cut(stdout.String(), "\n")
			}
			if !regexp.MustCompile(`^200 [0-9a-f]{24}$`).MatchString(head) || body != refusal {
				t.Errorf("the client got %q, %q", head, body)
			}
		})
	}
}

// TestR16_ARefusalOutlivesSpeech holds that a client that sends as fast as somebody speaks,
// and reads only when it has sent everything, gets the refusal as the gateway wrote it: from
// the gateway itself, and through the proxies that many gateways run behind.
func TestR16_ARefusalOutlivesSpeech(t *testing.T) {
	t.Parallel()
	p, _, _ := newRefuser(t)
	gate := strings.Replace(strings.TrimPrefix(p.base, "http://"), "localhost", "127.0.0.1", 1)
	nginx := func(options string) func(t *testing.T) string {
		return func(t *testing.T) string { return startNginx(t, gate, options) }
	}
	for name, start := range map[string]func(t *testing.T) string{
		"directly":                    func(*testing.T) string { return gate },
		"behind nginx":                nginx("proxy_http_version 1.1;"),
		"behind nginx, its defaults":  nginx(""),
		"behind nginx, not buffering": nginx("proxy_http_version 1.1; proxy_request_buffering off;"),
		"behind HAProxy":              func(t *testing.T) string { return startHAProxy(t, "server gate "+gate) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := start(t)
			for _, upload := range []struct {
				name   string
				pieces int // of 3,200 bytes: a tenth of a second of 16-bit speech at 16 kHz
				pace   time.Duration
			}{
				{"at the pace of speech", 70, 100 * time.Millisecond},
				{"40 MB", 40 << 20 / 3200, 0},
			} {
				t.Run(upload.name, func(t *testing.T) {
					t.Parallel()
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
					if _, err := fmt.Fprintf(conn, "POST /v1/recognize HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", clientForm); err != nil {
						t.Fatal(err)
					}
					head, _, _ := strings.Cut(recognitionForm("nobody", "u"), "RIFF")
					for i := range upload.pieces + 1 {
						piece := head
						if i > 0 {
							piece = string(make([]byte, 3200))
							time.Sleep(upload.pace)
						}
						if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(piece), piece); err != nil {
							t.Fatalf("after %d pieces of %d: %v", i, upload.pieces, err)
						}
					}
					if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
						t.Fatalf("at the upload's end: %v", err)
					}
					var raw bytes.Buffer
					resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), nil)
					if err != nil {
						t.Fatalf("%v (got %q); the gateway's output:\n%s", err, &raw, p.output)
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					if resp.StatusCode != http.StatusOK || string(body) != refusal || !regexp.MustCompile(`\r\nX-Session-ID: [0-9a-f]{24}\r\n`).MatchString(raw.String()) {
						t.Errorf("the client got %q", raw.String())
					}
				})
			}
		})
	}
}

// TestR16_AnExitWaitsForNoRefusedUpload holds that clients that go on sending cannot keep a
// process from exiting.
func TestR16_AnExitWaitsForNoRefusedUpload(t *testing.T) {
	t.Parallel()
	p, tlsAddr, _ := newRefuser(t)
	plain, err := net.Dial("tcp", strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	secure, err := tls.Dial("tcp", tlsAddr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	for _, conn := range []net.Conn{plain, secure} {
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, "POST /v1/recognize?u=nobody HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\nfirst bytes"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		go func() {
			for {
				if _, err := conn.Write(make([]byte, 320)); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
	}
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	cmd := p.cmd
	go func() { exited <- cmd.Wait() }()
	select {
	case err := <-exited:
		p.cmd = nil
		if err != nil {
			t.Errorf("the process ends with %v", err)
		}
		t.Logf("the process exited after %v", time.Since(begun))
	case <-time.After(15 * time.Second):
		t.Error("the process does not exit")
	}
}
