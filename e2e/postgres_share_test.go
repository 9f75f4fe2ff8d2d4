package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/wstest"
)

// known is how long a count of one gateway may take to be known at another one, with a second for a
// busy machine: docs/clustering.md states it.
const known = 1250*time.Millisecond + time.Second

// sharing is one of several gateways that count together.
type sharing struct {
	*program

	admin    string
	deepgram string // the base URL of a gate for another API
}

// newSharing is a gateway on a database with an issuance API, a console and two gates. The backends
// of jobs and of Deepgram's API are shared by all gateways. options are further options of the keystore.
func newSharing(t *testing.T, dsn, options, jobs, deepgram string) sharing {
	t.Helper()
	s := sharing{admin: "localhost:" + port(t), deepgram: "localhost:" + port(t)}
	s.program = newProgram(t, postgresCaddyfile(s.admin, options, "speechgate_console", jobs, `http://`+s.deepgram+` {
	bind 127.0.0.1
	speechgate deepgram {
		upstream_key deepgram-upstream-5f2c
	}
	reverse_proxy `+deepgram+`
}
`))
	s.dsn, s.env = dsn, []string{"SPEECHGATE_DSN=" + dsn}
	s.start()
	return s
}

// newTokenBackend is a backend with Deepgram's API that mints one token.
func newTokenBackend(t *testing.T, token string) string {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		switch authorization := r.Header.Get("Authorization"); {
		case r.URL.Path == "/v1/auth/grant" && strings.EqualFold(authorization, "Token deepgram-upstream-5f2c"):
			_, _ = io.WriteString(w, `{"access_token":"`+token+`","expires_in":60}`)
		case r.URL.Path == "/v1/listen" && authorization == "Bearer "+token:
			_, _ = io.WriteString(w, `{"results":{}}`)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	t.Cleanup(backend.Close)
	return strings.TrimPrefix(backend.URL, "http://")
}

// used returns how much of its only limit a key uses, as the gateway knows it.
func (s sharing) used(key string) int {
	s.t.Helper()
	var answer struct{ Limits []struct{ Used int } }
	text := getText(s.t, "http://"+s.admin+"/speechgate/keys/"+key+"/limits")
	if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer.Limits) != 1 {
		s.t.Fatalf("%s: %v", text, err)
	}
	return answer.Limits[0].Used
}

// knows waits until the gateway knows that a key uses so much, and checks that the wait was short.
func (s sharing) knows(key string, want int) {
	s.t.Helper()
	begun := time.Now()
	s.eventually("the other gateway knows of "+strconv.Itoa(want), func() bool { return s.used(key) == want })
	if took := time.Since(begun); took > known {
		s.t.Errorf("the other gateway knows of %d after %s, want %s at most", want, took, known)
	}
}

// admitted returns how many of so many requests the gateway lets through.
func (s sharing) admitted(key string, requests int) (n int) {
	s.t.Helper()
	for range requests {
		if s.recognizes(key) {
			n++
		}
	}
	return n
}

// begin opens a live stream. It returns nil if the stream is refused.
func (s sharing) begin(key string) *library {
	s.t.Helper()
	stream := s.stream(startWith(key))
	if stream.Next() == wstest.Text("s") {
		return stream
	}
	return nil
}

// form posts a form and returns the status.
func (s sharing) form(path string, fields url.Values) int {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodPost, s.base+path, strings.NewReader(fields.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", s.base)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// askDeepgram asks the gate of Deepgram's API.
func (s sharing) askDeepgram(path, authorization string) (status int, body string) {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+s.deepgram+path, strings.NewReader("RIFF"))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", authorization)
	request.Header.Set("Content-Type", "audio/wav")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// shareRequests checks the requests a minute of a key: what one gateway has let through is missing at the other one.
func (s sharing) shareRequests(other sharing, account string) {
	s.t.Helper()
	id, key := s.key(account, "--limit", "requests=30/m")
	other.within("the key counts at the other gateway", func() bool { return len(other.find(id)) > 0 })
	if n := s.admitted(key, 20); n != 20 {
		s.t.Fatalf("%d of 20 requests were let through; the gateway's output:\n%s", n, s.output)
	}
	other.knows(id, 20)
	if n := other.admitted(key, 15); n != 10 {
		s.t.Errorf("the other gateway has let %d requests through, want the 10 that were left", n)
	}
	s.knows(id, 30)
	if s.recognizes(key) {
		s.t.Error("a request beyond the limit was let through")
	}
}

func TestPostgres_GatewaysCountTogether(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	const token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.0123456789-abcdefgh_"
	jobs, deepgram := newJobBackend(t), newTokenBackend(t, token)
	one, other := newSharing(t, dsn, "", jobs, deepgram), newSharing(t, dsn, "", jobs, deepgram)
	account := one.importAccount()
	one.shareRequests(other, account)

	// Live streams at a time. Those of a gateway that was killed count no more after a while.
	id, key := one.key(account, "--limit", "streams=2")
	third := newSharing(t, dsn, "", jobs, deepgram)
	first, second := one.begin(key), third.begin(key)
	if first == nil || second == nil {
		t.Fatal("a stream was refused")
	}
	other.knows(id, 2)
	if other.begin(key) != nil {
		t.Error("the other gateway has let a third stream through")
	}
	_ = first.Close()
	other.knows(id, 1)
	next := other.begin(key)
	if next == nil {
		t.Fatal("a stream was refused although another one has ended")
	}
	one.knows(id, 2)
	third.kill()
	killed := time.Now()
	one.eventually("the stream of the gateway that was killed counts no more", func() bool { return one.used(id) == 1 })
	if took := time.Since(killed); took < 2*time.Second || took > 10*time.Second {
		t.Errorf("the stream of a gateway that was killed counted for %s, want about 5 s", took)
	}
	next.stop()

	// Failed tries: what was tried at one gateway counts at the other one.
	wrong := url.Values{"sid": {serviceID}, "spw": {"wrong"}, "epi": {"60000"}}
	for i := range 30 {
		if status := one.form(issuancePath, wrong); status != http.StatusUnauthorized {
			t.Fatalf("call %d with a wrong password: status %d", i, status)
		}
	}
	tried := 0
	other.eventually("the other gateway makes the client wait", func() bool {
		tried++
		return other.form(issuancePath, wrong) == http.StatusTooManyRequests
	})
	if tried >= 30 {
		t.Errorf("the other gateway has let %d more tries through", tried)
	}
	wrong = url.Values{"name": {"someone"}, "password": {"a password that is wrong"}}
	for i := range 30 {
		if status := one.form("/console/sign-in", wrong); status == http.StatusTooManyRequests {
			t.Fatalf("try %d: status %d", i, status)
		}
	}
	tried = 0
	other.eventually("the other gateway makes the user wait", func() bool {
		tried++
		return other.form("/console/sign-in", wrong) == http.StatusTooManyRequests
	})
	if tried >= 30 {
		t.Errorf("the other gateway has let %d more passwords be tried", tried)
	}

	// A token that was minted through one gateway is known at the other one.
	_, key = one.key(account)
	var granted int
	other.eventually("a token is minted", func() bool {
		granted, _ = one.askDeepgram("/v1/auth/grant", "Token "+key)
		return granted == http.StatusOK
	})
	if status, body := other.askDeepgram("/v1/listen", "Bearer "+token); status != http.StatusOK {
		t.Errorf("the token at the other gateway: status %d, %s", status, body)
	}
	if status, _ := other.askDeepgram("/v1/listen", "Bearer "+token+"x"); status != http.StatusUnauthorized {
		t.Errorf("another token: status %d", status)
	}

	// The usage of both adds up.
	usedID, key := one.key(account)
	other.within("the key counts at the other gateway", func() bool { return len(other.find(usedID)) > 0 })
	if n := one.admitted(key, 3) + other.admitted(key, 4); n != 7 {
		t.Fatalf("%d of 7 requests were let through", n)
	}
	other.eventually("the usage of both gateways is known", func() bool {
		return strings.Contains(getText(t, "http://"+other.admin+"/speechgate/usage?key_id="+usedID), `"requests":7`)
	})
	for _, s := range []sharing{one, other} {
		s.kept(key, token, "a password that is wrong")
		if output := s.output.String(); strings.Contains(output, "are not shared") {
			t.Errorf("the counts were not shared:\n%s", output)
		}
	}
}

// find returns a key, as the gateway knows it.
func (s sharing) find(id string) string {
	s.t.Helper()
	answer, err := http.Get("http://" + s.admin + "/speechgate/keys/" + id)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return ""
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
