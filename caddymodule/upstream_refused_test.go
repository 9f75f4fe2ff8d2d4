package caddymodule_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// respondPieces makes the backend answer with these pieces of a body, and flush each. The answer has
// this Content-Length or, if it is negative, it is chunked.
func (b *backend) respondPieces(status, length int, pieces ...string) {
	b.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		if length >= 0 {
			w.Header().Set("Content-Length", strconv.Itoa(length))
		}
		w.WriteHeader(status)
		for _, piece := range pieces {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
		}
	})
}

// If the backend refuses the upstream key, the answer must not tell the client that its own key is
// bad.
func TestR16_ARefusedUpstreamKeyIsAGatewayError(t *testing.T) {
	const withheld = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"!","message":"can't connect to recognizer server"}` + "\r\n"
	reworded := strings.Replace(deniedBody, "received illegal service authorization", "received illegal API key", 1)
	for mode, detail := range map[string]string{backendKey: "refuses upstream_key", "drop": "set upstream_key"} {
		t.Run("upstream_key "+mode, func(t *testing.T) {
			g := newGatewayWith(t, &gateway{
				options: "upstream_key " + mode,
				site: `log_append seen {speechgate.reason}
					` + defaultSite,
			})
			key, secret := g.issue(keystore.NewKey{})
			g.recordJob("j", key, now())
			recognize := func() reply { return g.send(requestForms["curl's form with u"](g, secret)) }
			create := func() reply { return g.create(secret) }
			poll := func() reply { return g.poll("j", secret) }
			for name, c := range map[string]struct {
				ask    func() reply
				op     policy.Operation
				status int
				length int
				pieces []string
				want   string
			}{
				"recognition":                {recognize, policy.Recognize, 200, len(deniedBody), []string{deniedBody}, withheld},
				"recognition, reworded":      {recognize, policy.Recognize, 200, len(reworded), []string{reworded}, withheld},
				"recognition, in two pieces": {recognize, policy.Recognize, 200, len(deniedBody), []string{deniedBody[:50], deniedBody[50:]}, withheld},
				"recognition, chunked":       {recognize, policy.Recognize, 200, -1, strings.SplitAfter(deniedBody, ","), withheld},
				"creation":                   {create, policy.CreateJob, 200, len(deniedBody), []string{deniedBody}, withheld},
				"creation, chunked":          {create, policy.CreateJob, 200, -1, strings.SplitAfter(deniedBody, ","), withheld},
				"poll":                       {poll, policy.ReadJob, 401, -1, []string{`{"message":"received illegal service authorization"}`}, `{"message":"can't connect to recognizer server"}`},
			} {
				refused, allowed := counted(t, c.op, policy.UpstreamRefused), counted(t, c.op, policy.Allowed)
				g.backend.respondPieces(c.status, c.length, c.pieces...)
				got := c.ask()
				if got.status != http.StatusBadGateway || got.body != c.want || got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: status %d, body %q", name, got.status, got.body)
				}
				if c.op != policy.ReadJob && !strings.Contains(got.raw, "\r\nX-Session-ID: ") {
					t.Errorf("%s has no session: %q", name, got.raw)
				}
				if n := counted(t, c.op, policy.UpstreamRefused) - refused; n != 1 {
					t.Errorf("%s: upstream_refused is counted %v times", name, n)
				}
				if n := counted(t, c.op, policy.Allowed) - allowed; n != 1 {
					t.Errorf("%s: allowed is counted %v times", name, n)
				}
			}
			if _, err := g.keys.Job(context.Background(), "amivoice", ""); !errors.Is(err, keystore.ErrNotFound) {
				t.Errorf("a job was recorded: %v", err)
			}
			eventually(t, func() bool { return strings.Count(g.log(), `"msg":"handled request"`) == 7 })
			log := g.log()
			if n := strings.Count(log, `"msg":"upstream key refused"`); n != 7 {
				t.Errorf("%d lines of 7 requests", n)
			}
			alarms := 0
			for line := range strings.Lines(log) {
				if strings.Contains(line, "upstream key refused") && strings.Contains(line, `"level":"error"`) {
					alarms++
					for _, text := range []string{`"reason":"upstream_refused"`, `"key_id":"` + key.ID + `"`, `"backend":"amivoice"`, detail} {
						if !strings.Contains(line, text) {
							t.Errorf("the line lacks %s: %s", text, line)
						}
					}
				}
			}
			if alarms != 1 {
				t.Errorf("%d lines of level ERROR within a minute, want 1", alarms)
			}
			if n := strings.Count(log, `"seen":"upstream_refused"`); n != 7 {
				t.Errorf("the placeholder says so %d times, want 7", n)
			}
			if n := strings.Count(log, `"user_id":"`+key.AccountID+`"`); n != 7 {
				t.Errorf("the access log names the account %d times, want 7", n)
			}
		})
	}
}

func TestR16_OtherErrorsOfTheBackendPass(t *testing.T) {
	results := map[string]string{
		"a result":           `{"results":[{"tokens":[{"written":"-","code":"-"}],"text":"-"}],"text":"-","code":"","message":""}` + "\r\n",
		"another refusal":    strings.Replace(deniedBody, `"code":"-"`, `"code":"+"`, 1),
		"nothing":            "",
		"no JSON":            `"-"`,
		"a large result":     `{"results":[],"text":"` + strings.Repeat("x", 3*dialect.MaxKeyRefused) + `","code":""}`,
		"a large other body": `{"text":"` + strings.Repeat("x", 3*dialect.MaxKeyRefused) + `","code":"-"}`,
	}
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{})
	for name, body := range results {
		for _, length := range []int{-1, len(body)} {
			g.backend.respondPieces(http.StatusOK, length, body[:len(body)/2], body[len(body)/2:])
			got := g.send(requestForms["curl's form with u"](g, secret))
			if got.status != http.StatusOK || got.body != body || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s, length %d: status %d, body %.100q", name, length, got.status, got.body)
			}
		}
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} { // such as forward_auth's
		g.backend.respondPieces(status, -1, "an answer")
		if got := g.send(requestForms["curl's form with u"](g, secret)); got.status != status || got.body != "an answer" {
			t.Errorf("status %d became %d, body %q", status, got.status, got.body)
		}
	}
	if strings.Contains(g.log(), "upstream_refused") {
		t.Error("the log blames the upstream key")
	}

	t.Run("a gate with upstream_key pass", func(t *testing.T) {
		g := newGateway(t, "upstream_key pass")
		key, secret := g.issue(keystore.NewKey{})
		g.recordJob("j", key, now())
		g.backend.respondPieces(http.StatusOK, len(deniedBody), deniedBody)
		for name, got := range map[string]reply{"recognition": g.send(requestForms["curl's form with u"](g, secret)), "creation": g.create(secret)} {
			if got.status != http.StatusOK || got.body != deniedBody {
				t.Errorf("%s: status %d, body %q", name, got.status, got.body)
			}
		}
		g.backend.respondText(http.StatusUnauthorized, "as it is")
		if got := g.poll("j", secret); got.status != http.StatusUnauthorized || got.body != "as it is" {
			t.Errorf("poll: status %d, body %q", got.status, got.body)
		}
		if strings.Contains(g.log(), "upstream_refused") {
			t.Error("the log blames the upstream key")
		}
	})
}

// A result that is too large to be a refusal streams to the client.
func TestR16_LargeResultsStream(t *testing.T) {
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "reverse_proxy {backend} {\nflush_interval -1\n}"})
	_, secret := g.issue(keystore.NewKey{})
	for name, c := range map[string]struct{ length, first int }{
		"of a known length": {100 << 10, 10},
		"in chunks":         {-1, dialect.MaxKeyRefused + 1},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			goOn := make(chan struct{})
			g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if c.length >= 0 {
					w.Header().Set("Content-Length", strconv.Itoa(c.length))
				}
				_, _ = io.WriteString(w, strings.Repeat("x", c.first))
				_ = http.NewResponseController(w).Flush()
				<-goOn
				_, _ = io.WriteString(w, strings.Repeat("y", 100<<10-c.first))
			})
			conn := g.dial(t)
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(conn, requestForms["curl's form with u"](g, secret))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				close(goOn)
				t.Fatal(err)
			}
			first := make([]byte, c.first)
			_, err = io.ReadFull(resp.Body, first)
			close(goOn)
			if err != nil || strings.Trim(string(first), "x") != "" {
				t.Errorf("the client waits for the end: %q, %v", first, err)
			}
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 100<<10-c.first {
				t.Errorf("%d bytes follow, %v", len(rest), err)
			}
			_ = resp.Body.Close()
		})
	}
}
