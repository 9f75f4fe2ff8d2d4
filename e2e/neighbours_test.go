package e2e_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
)

// besideKey is the upstream key of the gates in these tests. The backend shows it in each
// answer to a poll.
const besideKey = "backend-key-0123456789"

// neighbour is one row of docs/neighbours.md: a directive beside a gate, as the page says to
// write it, and what happens otherwise.
//
// In the texts, GATE is the directive speechgate, BACKEND the address of the test's backend,
// SANDBOX the address of a sandbox, DIR a directory and NAME the name of the site.
type neighbour struct {
	row       string    // the first column of the row, without backticks
	order     string    // a line of the global options that the page says to write
	other     string    // the line of the global options without which Caddy takes no site with otherwise
	top       [2]string // what is beside the site in the Caddyfile: as written, and otherwise
	written   string    // the site that the page says to write
	otherwise string    // the site without the advice; written, if empty
	right     func(s *besideSite)
	wrong     func(s *besideSite) // nil if the page has nothing to write
}

// besideBackend records the requests that reach it.
type besideBackend struct {
	mu    sync.Mutex
	seen  map[string]*http.Request // the last request of each host and path
	began chan string              // the host of each recognition whose header has come
	spans bytes.Buffer             // what a tracer has sent
	jobs  int
}

func (b *besideBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	if r.URL.Path == "/v1/recognize" {
		b.began <- host
	}
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.URL.Path == "/v1/traces" {
		b.spans.Write(body)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	b.seen[host+r.URL.Path] = r
	b.jobs++
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=600")
	if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v2/") {
		_, _ = fmt.Fprintf(w, `{"sessionid":"job%d","text":"..."}`, b.jobs)
		return
	}
	_, _ = fmt.Fprintf(w, `{"status":"processing","n":%d,"text":"{{.Req.Host}} %s","key":"%s"}`, b.jobs, strings.Repeat("word ", 200), besideKey)
}

// last returns the last request to a path through the site.
func (s *besideSite) last(path string) *http.Request {
	s.t.Helper()
	s.backend.mu.Lock()
	defer s.backend.mu.Unlock()
	r := s.backend.seen[s.host+path]
	if r == nil {
		s.t.Fatalf("no request to %s has reached the backend", path)
	}
	return r
}

// besideSite is one site of a gateway with neighbours.
type besideSite struct {
	*program
	t       *testing.T
	host    string
	backend *besideBackend
	dir     string // of what other programs write
	plain   string // the port of layer4 without the PROXY protocol
	proxied string // the port of layer4 with the PROXY protocol

	account               string
	key, sibling, foreign string // of the account, of the account, of another account
}

// testNeighbours runs two gateways, one with the sites as docs/neighbours.md says to write
// them, and one with the other sites.
func testNeighbours(t *testing.T, binary string, rows []neighbour, global string) {
	for i, variant := range []string{"written", "otherwise"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			rows := slices.DeleteFunc(slices.Clone(rows), func(row neighbour) bool { return i == 1 && row.wrong == nil })
			backend := &besideBackend{seen: make(map[string]*http.Request), began: make(chan string, 100)}
			server := httptest.NewServer(backend)
			t.Cleanup(server.Close)
			var options, sites strings.Builder
			for _, row := range rows {
				site, order := row.written, row.order
				if i == 1 {
					order = row.other
					if row.otherwise != "" {
						site = row.otherwise
					}
				}
				options.WriteString("\t" + order + "\n")
				fill := strings.NewReplacer("NAME", hostOf(row.row))
				sites.WriteString(fill.Replace(row.top[i] + "\nhttp://NAME.test:8080 {\n" + site + "\n}\n"))
			}
			dir, plain, proxied := t.TempDir(), port(t), port(t)
			p := newProgram(t, strings.NewReplacer(
				"GATE", "speechgate amivoice {\n upstream_key "+besideKey+"\n }",
				"BACKEND", strings.TrimPrefix(server.URL, "http://"),
				"SANDBOX", "127.0.0.1:8081",
				"DIR", dir, ":8443", ":"+plain, ":8444", ":"+proxied,
			).Replace("{\n\tadmin off\n"+options.String()+global+"\n}\n"+sites.String()+`
http://:8081 {
	bind 127.0.0.1
	speechgate_sandbox amivoice {
		key `+besideKey+`
	}
}
http://:8080 {
	GATE
}
`))
			p.binary = binary
			p.env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + server.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50"}
			p.start()
			account := p.account()
			_, key := p.key(account)
			_, sibling := p.key(account)
			_, foreign := p.key(p.account())
			for _, row := range rows {
				t.Run(row.row, func(t *testing.T) {
					check := row.right
					if i == 1 {
						check = row.wrong
					}
					check(&besideSite{program: p, t: t, host: hostOf(row.row) + ".test", backend: backend, dir: dir, plain: plain, proxied: proxied, account: account, key: key, sibling: sibling, foreign: foreign})
				})
			}
		})
	}
}

func hostOf(row string) string { return regexp.MustCompile(`[^a-z]+`).ReplaceAllString(row, "-") }

// besideAnswer is an answer as the client sees it.
type besideAnswer struct {
	status int
	header http.Header
	body   string
}

func (s *besideSite) send(method, path string, body io.Reader, header ...string) besideAnswer {
	s.t.Helper()
	resp, err := s.try(method, path, body, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.Header.Get("Content-Encoding") == "gzip" {
		plain, err := gzip.NewReader(bytes.NewReader(got))
		if err != nil {
			s.t.Fatal(err)
		}
		if got, err = io.ReadAll(plain); err != nil {
			s.t.Fatal(err)
		}
	}
	return besideAnswer{resp.StatusCode, resp.Header, string(got)}
}

// besideClient follows no redirect and asks for no compression.
var besideClient = http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *besideSite) try(method, path string, body io.Reader, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, s.base+path, body)
	if err != nil {
		return nil, err
	}
	req.Host = s.host
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return besideClient.Do(req)
}

func (s *besideSite) recognize(key string, header ...string) besideAnswer {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/recognize", strings.NewReader(recognitionForm(key, "u")), append(header, "Content-Type", clientForm)...)
}

// create creates a job and returns the job's path.
func (s *besideSite) create(key string, header ...string) string {
	s.t.Helper()
	answer := s.send(http.MethodPost, "/v2/recognitions", strings.NewReader(recognitionForm(key, "u")), append(header, "Content-Type", clientForm)...)
	id := regexp.MustCompile(`job\d+`).FindString(answer.body)
	if answer.status != http.StatusOK || id == "" {
		s.t.Fatalf("creating a job: status %d, %s", answer.status, answer.body)
	}
	return "/v1/recognitions/" + id
}

func (s *besideSite) read(job, key string, header ...string) besideAnswer {
	s.t.Helper()
	return s.send(http.MethodGet, job, nil, append(header, "Authorization", "Bearer "+key)...)
}

// want checks the status of an answer.
func (s *besideSite) want(what string, got besideAnswer, status int) {
	s.t.Helper()
	if got.status != status {
		s.t.Errorf("%s: status %d, want %d: %.200s", what, got.status, status, got.body)
	}
}

// recognizes checks that a recognition with a key, and with these header fields, has the
// backend's answer. The status does not say so: the API refuses with status 200.
func (s *besideSite) recognizes(key string, header ...string) {
	s.t.Helper()
	if answer := s.recognize(key, header...); answer.status != http.StatusOK || !strings.Contains(answer.body, "word word") {
		s.t.Errorf("a recognition: status %d, %.200s", answer.status, answer.body)
	}
}

// refused checks that an answer to a recognition is the gate's refusal.
func (s *besideSite) refused(what string, got besideAnswer) {
	s.t.Helper()
	if got.status != http.StatusOK || got.body != refusal {
		s.t.Errorf("%s: status %d, %.200s, want the refusal of the gate", what, got.status, got.body)
	}
}

// works checks that the gate does its work on the site: it lets good keys through, keeps jobs
// apart, masks the upstream key and refuses unknown keys.
func (s *besideSite) works() {
	s.t.Helper()
	s.recognizes(s.key)
	s.refused("a recognition with an unknown key", s.recognize("nobody"))
	job := s.create(s.key)
	poll := s.read(job, s.key)
	s.want("a poll", poll, http.StatusOK)
	if strings.Contains(poll.body, besideKey) {
		s.t.Error("the answer to a poll has the upstream key")
	}
	s.want("a poll with another key of the account", s.read(job, s.sibling), http.StatusOK)
	s.want("a poll with a key of another account", s.read(job, s.foreign), http.StatusNotFound)
	s.want("a poll with an unknown key", s.read(job, "nobody"), http.StatusUnauthorized)
}

// open opens a stream and sends the start command.
func (s *besideSite) open(key string) *wstest.Peer {
	s.t.Helper()
	addr := strings.Replace(strings.TrimPrefix(s.base, "http://"), "localhost", "127.0.0.1", 1)
	return wstest.Dial(s.t, addr, wstest.LibraryHandshake("/v1/", s.host), wstest.RawText("s 16K -a-general authorization="+key)).Upgraded()
}

// upload sends a recording in two halves. Between the halves it waits until event reports
// true, or until the time is over, and returns the last report of event.
func (s *besideSite) upload(key string, limit time.Duration, event func(answered <-chan besideAnswer) bool) (before bool) {
	s.t.Helper()
	r, w := io.Pipe()
	answered := make(chan besideAnswer, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := s.try(http.MethodPost, "/v1/recognize", r, "Content-Type", clientForm)
		if err != nil {
			return // the gateway may close the connection while the client still sends
		}
		answered <- besideAnswer{status: resp.StatusCode}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}()
	form := recognitionForm(key, "u")
	half := len(form) - len(sandbox.SpeechWAV())/2
	write := func(text string) {
		if _, err := io.WriteString(w, text); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			s.t.Error(err)
		}
	}
	write(form[:half])
	for deadline := time.Now().Add(limit); !before && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		before = event(answered)
	}
	write(form[half:])
	_ = w.Close()
	<-done
	return before
}

// reached reports whether a recognition through the site has reached the backend.
func (s *besideSite) reached(<-chan besideAnswer) bool {
	select {
	case host := <-s.backend.began:
		return host == s.host
	default:
		return false
	}
}

func answered(a <-chan besideAnswer) bool { return len(a) > 0 }

// The time that an event has which must come, and one which must not.
const mustCome, mustNotCome = 20 * time.Second, 500 * time.Millisecond

// file returns the content of a file that another program has written.
func (s *besideSite) file(name string) string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

// TestEachRowOfTheNeighboursPageIsTested holds that the tests of neighbours and the rows of
// docs/neighbours.md are the same.
func TestEachRowOfTheNeighboursPageIsTested(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/neighbours.md")
	if err != nil {
		t.Fatal(err)
	}
	tested, _, _ := strings.Cut(string(page), "## Tried by hand")
	var onPage, inTests []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(tested, -1) {
		onPage = append(onPage, strings.ReplaceAll(row[1], "`", ""))
	}
	for _, row := range slices.Concat(pluginNeighbours, standardNeighbours) {
		inTests = append(inTests, row.row)
		if row.order != "" && !strings.Contains(tested, "`"+row.order+"`") {
			t.Errorf("the page does not say to write %q", row.order)
		}
	}
	slices.Sort(onPage)
	slices.Sort(inTests)
	if !slices.Equal(onPage, inTests) {
		t.Errorf("the page has the rows\n%q\nand the tests\n%q", onPage, inTests)
	}
}
