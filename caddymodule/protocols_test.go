package caddymodule_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/speechgate/speechgate/keystore"
)

func TestGateHoldsOverEveryHTTPVersion(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		scheme: "https://", options: "upstream_key " + backendKey,
		site: "tls " + certificate(t) + "\n" + defaultSite,
	})
	key, secret := g.issue(keystore.NewKey{})
	_, expired := g.expired()
	g.recordJob("j", key, now())
	insecure := &tls.Config{InsecureSkipVerify: true}
	overH2 := &http.Transport{TLSClientConfig: insecure, ForceAttemptHTTP2: true}
	overH3 := &http3.Transport{TLSClientConfig: insecure}
	t.Cleanup(func() {
		overH2.CloseIdleConnections()
		_ = overH3.Close()
	})
	for version, transport := range map[int]http.RoundTripper{2: overH2, 3: overH3} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			g.t = t
			client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			do := func(method, path, key string, body io.Reader) (int, string) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, "https://"+g.addr+path, body)
				if err != nil {
					t.Fatal(err)
				}
				if method == http.MethodGet {
					req.Header.Set("Authorization", "Bearer "+key)
				} else {
					req.Header.Set("Content-Type", "multipart/form-data; boundary=------------------------c0ffee")
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil || resp.ProtoMajor != version {
					t.Fatalf("over HTTP/%d: %v", resp.ProtoMajor, err)
				}
				return resp.StatusCode, string(text)
			}
			form := func(key string, size int) io.Reader {
				_, body, _ := strings.Cut(g.form("/", [2]string{"u", key}, [2]string{"a", strings.Repeat("\x00", size)}), "\r\n\r\n")
				return io.MultiReader(strings.NewReader(body)) // of unknown length
			}
			g.backend.received()
			if status, body := do(http.MethodPost, "/v1/recognize", secret, form(secret, 1<<20)); status != http.StatusOK || !strings.Contains(body, "hello") {
				t.Errorf("status %d, body %q; log:\n%s", status, body, g.log())
			}
			if sent := g.backend.received(); strings.Contains(sent, secret) || strings.Count(sent, backendKey) != 1 {
				t.Errorf("the client's key went upstream, or the backend's not once")
			}
			if status, body := do(http.MethodPost, "/v1/recognize", expired, form(expired, 4<<20)); status != http.StatusOK || body != deniedBody {
				t.Errorf("refused in a form: status %d, body %q", status, body)
			}
			if status, body := do(http.MethodPost, "/v1/recognize?u="+expired, expired, form("", 4<<20)); status != http.StatusOK || body != deniedBody {
				t.Errorf("refused in the query: status %d, body %q", status, body)
			}
			if status, _ := do(http.MethodGet, "/v1/recognitions/j", expired, nil); status != http.StatusUnauthorized {
				t.Errorf("a poll with an expired key: status %d", status)
			}
			if status, _ := do(http.MethodGet, "/v1/recognitions/j", secret, nil); status != http.StatusOK {
				t.Errorf("a poll: status %d", status)
			}
			// In HTTP/1.1 the request line would end at the space.
			g.backend.received()
			for _, target := range []string{"/v1/recognitions/j?x=a b", "/v1/recognize?u=" + secret + "&x= HTTP/1.1"} {
				path, query, _ := strings.Cut(target, "?")
				req := &http.Request{
					Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: g.addr, Path: path, RawQuery: query},
					Header: http.Header{"Authorization": {"Bearer " + secret}},
				}
				want := `{"message":"received unreadable request"}`
				if path == "/v1/recognize" {
					req.Method, want = http.MethodPost, unreadableBody
				}
				resp, err := client.Do(req.WithContext(t.Context()))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusBadRequest || string(body) != want {
					t.Errorf("%s: status %d, body %q, %v", path, resp.StatusCode, body, err)
				}
			}
			if sent := g.backend.received(); sent != "" {
				t.Errorf("the backend got %q", sent)
			}
			if status, _ := do(http.MethodGet, "/v1/", secret, nil); status != http.StatusNotFound {
				t.Errorf("a stream: status %d", status)
			}
		})
	}
}

// certificate makes a certificate for localhost, and returns the names of its two files.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var files []string
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: cert}, {Type: "PRIVATE KEY", Bytes: private}} {
		file := filepath.Join(dir, fmt.Sprintf("%d.pem", len(files)))
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return strings.Join(files, " ")
}
