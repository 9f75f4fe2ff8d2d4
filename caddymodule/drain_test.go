package caddymodule_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/speechgate/speechgate/keystore"
)

// A client over TLS that reads nothing before it has sent everything gets the refusal, and not a
// connection reset.
func TestR16_ARefusalReachesAClientThatSends40MBFirst(t *testing.T) {
	const size = 40 << 20
	g := newGatewayWith(t, &gateway{
		scheme: "https://", options: "upstream_key " + backendKey,
		site: "tls " + certificate(t) + "\nspeechgate_issue\n" + defaultSite,
	})
	insecure := &tls.Config{InsecureSkipVerify: true}
	head := func(target, framing string) string {
		return "POST " + target + " HTTP/1.1\r\nHost: " + g.addr + "\r\n" + framing + "\r\n"
	}
	form, _, _ := strings.Cut(g.form("/v1/recognize", [2]string{"u", "nobody"}, [2]string{"a", "END"}), "END")
	formHead, formStart, _ := strings.Cut(form, "\r\n\r\n")
	formHead, _, _ = strings.Cut(formHead, "Content-Length")
	for name, request := range map[string]string{
		"the key is in the query":    head("/v1/recognize?u=nobody", fmt.Sprintf("Content-Length: %d\r\n", size)),
		"the body is chunked":        head("/v1/recognize?u=nobody", "Transfer-Encoding: chunked\r\n"),
		"the key is in the form":     formHead + "Content-Type: multipart/form-data; boundary=------------------------c0ffee\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", size+len(formStart)) + formStart,
		"the path is unlisted":       head("/v1/unlisted", fmt.Sprintf("Content-Length: %d\r\n", size)),
		"the issuance API":           head("/issue_service_authorization", fmt.Sprintf("Content-Length: %d\r\n", size)),
		"it announced that it waits": head("/v1/recognize?u=nobody", fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n", size)),
	} {
		t.Run("over HTTP/1.1, "+name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", g.addr, insecure)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			var body io.Writer = conn
			if strings.Contains(request, "chunked") {
				body = &chunkWriter{conn}
			}
			if _, err := io.Copy(body, io.LimitReader(zeros{}, size)); err != nil {
				t.Fatalf("sending the body: %v", err)
			}
			if strings.Contains(request, "chunked") {
				_, _ = io.WriteString(conn, "0\r\n\r\n")
			}
			got := readReplyTo(t, http.MethodPost, conn)
			switch {
			case strings.Contains(request, "/v1/recognize"):
				wantDenied(t, got)
			case strings.Contains(request, "/v1/unlisted"):
				if got.status != http.StatusNotFound || got.body != "{}" {
					t.Errorf("status %d, body %q", got.status, got.body)
				}
			default:
				if got.status != http.StatusRequestEntityTooLarge || got.body != "The body is larger than 16 KiB.\n" {
					t.Errorf("status %d, body %q", got.status, got.body)
				}
			}
			if strings.Contains(got.raw, "100 Continue") || !strings.Contains(got.raw, "Connection: close") {
				t.Errorf("the answer's header:\n%s", got.raw)
			}
		})
	}
	overH2 := &http.Transport{TLSClientConfig: insecure, ForceAttemptHTTP2: true}
	overH3 := &http3.Transport{TLSClientConfig: insecure}
	t.Cleanup(func() {
		overH2.CloseIdleConnections()
		_ = overH3.Close()
	})
	for version, transport := range map[int]http.RoundTripper{2: overH2, 3: overH3} {
		t.Run(fmt.Sprint("over HTTP/", version), func(t *testing.T) {
			var sent atomic.Int64
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.addr+"/v1/recognize?u=nobody",
				countedReader{io.LimitReader(zeros{}, size), &sent})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.ProtoMajor != version || resp.StatusCode != http.StatusOK || string(body) != deniedBody {
				t.Errorf("over HTTP/%d: status %d, body %q, %v", resp.ProtoMajor, resp.StatusCode, body, err)
			}
			if sent.Load() != size {
				t.Errorf("the answer came after %d bytes of %d, and the rest was reset", sent.Load(), size)
			}
		})
	}
}

// chunkWriter writes each buffer as a chunk.
type chunkWriter struct{ io.Writer }

func (c *chunkWriter) Write(p []byte) (int, error) {
	if _, err := fmt.Fprintf(c.Writer, "%x\r\n%s\r\n", len(p), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

type countedReader struct {
	io.Reader
	n *atomic.Int64
}

func (c countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// A client that goes on sending after a refusal does not keep the store open: a reload with other
// settings closes the old store meanwhile, and the client still gets its answer.
func TestR16_ADrainKeepsNoStoreOpen(t *testing.T) {
	for name, request := range map[string]string{
		"the key is in the query": "POST /v1/recognize?u=nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nfirst",
		"the key is in the form": "POST /v1/recognize HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nContent-Type: multipart/form-data; boundary=B\r\n\r\n" +
			"--B\r\nContent-Disposition: form-data; name=\"u\"\r\n\r\nnobody\r\n--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
		"the issuance API": "POST /issue_service_authorization HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nfirst",
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "speechgate_issue\n" + defaultSite})
			conn := g.dial(t)
			if _, err := io.WriteString(conn, strings.Replace(request, "Host: x", "Host: "+g.addr, 1)); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			if _, err := reader.Peek(1); err != nil {
				t.Fatalf("the answer did not come at once: %v", err)
			}
			old := serverStore(t)
			g.global = "cache_size 64MiB"
			g.load()
			holdsSoon(t, "no request holds the old store, and the store is closed", func() bool {
				if _, err := io.WriteString(conn, "more"); err != nil {
					t.Fatalf("the upload was cut: %v", err)
				}
				return isClosed(t, old)
			})
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Errorf("reading the answer: %v", err)
			}
		})
	}
}

// isClosed reports whether a store has been closed.
func isClosed(t *testing.T, store *keystore.Store) bool {
	t.Helper()
	_, err := store.Summary(t.Context())
	return errors.Is(err, keystore.ErrClosed)
}

// The log and the metric show an operator how many clients did not get their refusal.
func TestR16_ADrainIsLoggedAndCounted(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, global: "max_drain_size 1MiB"})
	conn := g.dial(t)
	if _, err := fmt.Fprintf(conn, "POST /v1/recognize?u=nobody HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", g.addr, 1<<30); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(conn, zeros{}); err == nil || n < 1<<20 {
		t.Errorf("%d bytes could be sent, %v", n, err)
	}
	holdsSoon(t, "the end of the drain is logged", func() bool { return strings.Contains(g.log(), `"refused upload read on"`) })
	if !strings.Contains(g.log(), `"end":"too_large"`) {
		t.Errorf("the log has no end:\n%s", g.log())
	}
}
