package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// sdkGateway is a gateway with the configuration of an example, in front of a sandbox in the
// test's process.
type sdkGateway struct {
	*program
	secure    string // the base of the URLs of the TLS listener
	authority string // the file with the certificate that signed the listener's
	audio     string // the file with the recording
	backend   *recorder
}

// upstreamKey is the key that the sandbox accepts.
const upstreamKey = "sk-upstream-0123456789"

// What the sandbox hears in the recording: as a whole, and in its parts.
const speechHeard = "5.82 s of 16000 Hz mono, 16 bits, 3 stretches of speech: 0.26-1.07 s, 1.50-3.22 s, 3.65-5.15 s; peak -5.9 dBFS, RMS -25.7 dBFS"

var speechParts = []string{"speech 1 (0.81 s)", "speech 2 (1.72 s)", "speech 3 (1.50 s)"}

// newSDKGateway starts a gateway with the site of an example, without TLS and with TLS, and serves
// the sandbox as its backend. The vendor's host, and each host below it, is replaced by the address
// of the sandbox. The path answers 401 to a key that nobody has issued. The variable holds the
// upstream key. The site gets further directives in front of the others.
func newSDKGateway(t *testing.T, example, vendor, path, variable string, backend http.Handler, directives ...string) *sdkGateway {
	t.Helper()
	text, err := os.ReadFile("../docs/examples/" + example)
	if err != nil {
		t.Fatal(err)
	}
	seen := serveRecorded(t, backend)
	authority, certificate, key := newAuthority(t)
	options, site, ok := strings.Cut(string(text), "\nasr.example.com {\n")
	hosts := regexp.MustCompile(`https://([a-z0-9-]+\.)*` + regexp.QuoteMeta(vendor) + `\b`)
	if !ok || !hosts.MatchString(site) {
		t.Fatalf("%s has no site asr.example.com with a proxy to %s", example, vendor)
	}
	site = strings.Join(directives, "\n") + "\n" + hosts.ReplaceAllString(site, seen.addr)
	options = strings.Replace(options, "\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n", 1)
	options = strings.Replace(options, "\t\tkeystore sqlite /var/lib/speechgate/keystore.db\n", "", 1)
	p := newProgram(t, options+"\nhttp://localhost:8080 {\n"+site+"\nhttps://localhost:8081 {\n\ttls "+certificate+" "+key+"\n"+site)
	p.env = []string{variable + "=" + upstreamKey}
	p.probe = path
	p.start()
	audio := filepath.Join(p.dir, "speech.wav")
	if err := os.WriteFile(audio, sandbox.SpeechWAV(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &sdkGateway{program: p, secure: "https://localhost:" + p.other, authority: authority, audio: audio, backend: seen}
}

// wantKept checks that the backend has got the upstream key, and that neither the backend nor the
// log has got one of the clients' keys.
func (g *sdkGateway) wantKept(keys ...string) {
	g.t.Helper()
	received := g.backend.received()
	if !bytes.Contains(received, []byte(upstreamKey)) {
		g.t.Error("the backend has not got the upstream key")
	}
	for _, key := range keys {
		if bytes.Contains(received, []byte(key)) {
			g.t.Errorf("the backend has got the client's key %s", key)
		}
	}
	g.kept(append(keys, upstreamKey)...)
}

// refusedKeys returns a key for each way in which a key can be bad.
func (g *sdkGateway) refusedKeys(account string) map[string]string {
	_, expired := g.key(account, "--expires", "1ms")
	_, bound := g.key(account, "--allow", "203.0.113.0/24")
	id, revoked := g.key(account)
	g.run("key", "revoke", id)
	return map[string]string{
		"an unknown key": "nobody-0123456789", "an expired key": expired, "a key for another address": bound, "a revoked key": revoked,
	}
}

// settings returns the settings of a program that uses the gateway, and all clients' keys in them. The
// program has a good key, a key for each name in doomed, and the keys of refusedKeys. Its control server
// serves the mux, and POST /revoke/NAME, which revokes the key of this name.
func (g *sdkGateway) settings(mux *http.ServeMux, doomed ...string) (settings map[string]any, keys []string) {
	account := g.account()
	_, good := g.key(account)
	refused := g.refusedKeys(account)
	named := map[string]any{"good": good, "refused": refused}
	keys = append(slices.Collect(maps.Values(refused)), good)
	for _, name := range doomed {
		id, key := g.key(account)
		named[name], keys = key, append(keys, key)
		mux.HandleFunc("POST /revoke/"+name, func(http.ResponseWriter, *http.Request) { g.run("key", "revoke", id) })
	}
	control := httptest.NewServer(mux)
	g.t.Cleanup(control.Close)
	return map[string]any{"base": g.base, "secure": g.secure, "audio": g.audio, "control": control.URL, "keys": named}, keys
}

// sdkResult is one line that a program of e2e/sdk prints: what a step of it has seen.
type sdkResult struct {
	Name     string   `json:"name"`
	Text     string   `json:"text"`
	Messages []string `json:"messages"`
	Error    string   `json:"error"` // the type of the library's error
	Status   int      `json:"status"`
	Code     string   `json:"code"`
	Message  string   `json:"message"`
	Closed   int      `json:"closed"` // the code of the Close frame
	Dials    int      `json:"dials"`  // how often the library has connected again
	Cut      int      `json:"cut"`    // milliseconds from a revocation to the library's error
	Took     int      `json:"took"`   // milliseconds
}

// runSDK runs a program of e2e/sdk with these settings, and returns its results by name.
func (g *sdkGateway) runSDK(t *testing.T, cmd *exec.Cmd, settings any) map[string]sdkResult {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd.Env = append(os.Environ(), "SETTINGS="+string(text), "NODE_EXTRA_CA_CERTS="+g.authority, "SSL_CERT_FILE="+g.authority)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	kill := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s\nthe gateway's output:\n%s", cmd.Args, err, &stdout, &stderr, g.output)
	}
	results := make(map[string]sdkResult)
	for line := range strings.Lines(stdout.String()) {
		var r sdkResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q is no result: %v", line, err)
		}
		results[r.Name] = r
	}
	return results
}

// runPage runs the page of the control server in a browser with these settings, and returns its results
// by name. The results are those of servePage.
func (g *sdkGateway) runPage(t *testing.T, browser string, settings map[string]any, results <-chan []byte, flags ...string) (seen map[string]sdkResult) {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	body := browse(t, browser, settings["control"].(string)+"/#"+url.PathEscape(string(text)), results, flags...)
	if err := json.Unmarshal(body, &seen); err != nil {
		t.Fatalf("%v: the page reports %s", err, body)
	}
	return seen
}

// wantDials checks how many requests the access log has whose URI begins with a prefix and has a part. The
// line of a stream comes when the gateway has ended the stream, which may be later than the client has.
func (g *sdkGateway) wantDials(want int, prefix, part string) {
	g.t.Helper()
	n := 0
	g.eventually(fmt.Sprintf("the access log has %d requests for %s with %q", want, prefix, part), func() bool {
		n = 0
		for line := range strings.Lines(g.output.String()) {
			if strings.Contains(line, "http.log.access") && strings.Contains(line, `"uri":"`+prefix) && strings.Contains(line, part) {
				n++
			}
		}
		return n >= want
	})
	if n != want {
		g.t.Errorf("the gateway has had %d handshakes for %s with %q, want %d", n, prefix, part, want)
	}
}

// The names of the versions of Node.js that nodes returns.
const (
	machineNode = "the machine's Node.js"
	newestNode  = "the newest Node.js"
)

// nodes returns the versions of Node.js to run with: that of the machine, if it has the major
// version that the library needs, and that of e2e/sdk/node, which speaks HTTP/2 by itself.
func nodes(t *testing.T, library string, major int) map[string]string {
	t.Helper()
	sdkInstalled(t, library, ".package-lock.json")
	found := map[string]string{newestNode: sdkInstalled(t, "node", "node/bin/node")}
	machine := tool(t, "node")
	text, err := exec.Command(machine, "-p", "process.versions.node.split('.')[0]").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if version >= major {
		found[machineNode] = machine
	}
	return found
}

// sdkInstalled returns the path of a file or directory that npm ci installs in e2e/sdk/dir.
func sdkInstalled(t *testing.T, dir, file string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("sdk", dir, "node_modules", file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		message := "there is no " + file + " of npm in e2e/sdk/" + dir + ": run npm ci there"
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	return path
}

// goSDK builds the Go program of e2e/sdk/dir, which is a module of its own.
func goSDK(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sdk.exe")
	cmd := exec.Command(tool(t, "go"), "build", "-o", binary, ".")
	cmd.Dir = filepath.Join("sdk", dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// recorder is a backend that keeps all bytes that it receives.
type recorder struct {
	addr string
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (r *recorder) received() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.buf.Bytes())
}

// serveRecorded serves a backend until the test ends.
func serveRecorded(t *testing.T, backend http.Handler) *recorder {
	t.Helper()
	r := new(recorder)
	server := httptest.NewUnstartedServer(backend)
	server.Listener = recordedListener{server.Listener, r}
	server.Start()
	t.Cleanup(server.Close)
	r.addr = server.Listener.Addr().String()
	return r
}

type recordedListener struct {
	net.Listener
	r *recorder
}

func (l recordedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return recordedConn{conn, l.r}, nil
}

type recordedConn struct {
	net.Conn
	r *recorder
}

func (c recordedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.r.buf.Write(p[:n])
	return n, err
}

// newAuthority makes an authority, and a certificate of it for localhost. It returns the files
// with the authority's certificate, and with the certificate of localhost and its key.
func newAuthority(t *testing.T) (authority, certificate, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sign := func(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) []byte {
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	rootKey, leafKey := newKey(), newKey()
	root := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	authority = write("authority.pem", "CERTIFICATE", sign(root, root, &rootKey.PublicKey, rootKey))
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate = write("localhost.pem", "CERTIFICATE", sign(leaf, root, &leafKey.PublicKey, rootKey))
	der, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return authority, certificate, write("localhost.key", "EC PRIVATE KEY", der)
}
