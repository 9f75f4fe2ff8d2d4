package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
)

func TestExampleRecognizesSpeechInEveryForm(t *testing.T) { //nolint:tparallel // the subtests use one program in turns
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, string(example))
	p.start()
	account := p.account()
	_, key := p.key(account, "--expires", "1h")
	recognized := func(t *testing.T, answer map[string]any) {
		t.Helper()
		if text, _ := answer["text"].(string); !strings.HasPrefix(text, "5.82 s of 16000 Hz mono") || answer["code"] != "" {
			t.Errorf("the answer is %v; the gateway's output:\n%s", answer, p.output)
		}
	}
	t.Run("form", func(t *testing.T) {
		_, answer := p.post("/v1/recognize", key)
		recognized(t, answer)
	})
	t.Run("raw body, key in the query", func(t *testing.T) {
		_, answer := p.do(http.MethodPost, "/v1/recognize?d=-a-general&c=16K&u="+key, bytes.NewReader(sandbox.SpeechWAV()))
		recognized(t, answer)
	})
	t.Run("raw body labelled as a form, key in the query's d", func(t *testing.T) {
		d := url.QueryEscape("grammarFileNames=-a-general authorization=" + url.QueryEscape(key))
		_, answer := p.do(http.MethodPost, "/v1/nolog/recognize?c=16K&d="+d, bytes.NewReader(sandbox.SpeechWAV()),
			"Content-Type", "application/x-www-form-urlencoded")
		recognized(t, answer)
	})
	t.Run("the library's form, chunked", func(t *testing.T) {
		const boundary = "1234567890ABCDEFGHIJ"
		body := "\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\ngrammarFileNames=-a-general authorization=" + key +
			"\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\n16K" +
			"\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + string(sandbox.SpeechWAV()) + "\r\n--" + boundary + "--\r\n"
		_, answer := p.do(http.MethodPost, "/v1/recognize", io.MultiReader(strings.NewReader(body)), // of unknown length
			"Content-Type", "multipart/form-data; boundary="+boundary)
		recognized(t, answer)
	})
	t.Run("a job, to its end", func(t *testing.T) {
		_, created := p.post("/v2/recognitions", key)
		job, _ := created["sessionid"].(string)
		seen := make(map[string]bool)
		p.eventually("the job has ended", func() bool {
			status, answer := p.poll(job, key)
			if status != http.StatusOK {
				t.Fatalf("status %d, %v", status, answer)
			}
			state, _ := answer["status"].(string)
			seen[state] = true
			if state == "completed" {
				if text, _ := answer["text"].(string); !strings.HasPrefix(text, "5.82 s") {
					t.Errorf("the answer is %v", answer)
				}
			}
			return state == "completed"
		})
		if !seen["queued"] || !seen["processing"] {
			t.Errorf("the states were %v", seen)
		}
		if shown := p.run("job", "show", job); shown["state"] != "completed" || shown["ended_at"] == nil {
			t.Errorf("job show prints %v", shown)
		}
	})
	if output := p.output.String(); strings.Contains(output, key) || strings.Contains(output, "sandbox-backend-key") {
		t.Errorf("a key is in the output:\n%s", output)
	}
}

func TestR12GraceHoldsAfterKillAndRestart(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			_, _ = fmt.Fprintf(w, `{"sessionid":"job-%d"}`, time.Now().UnixNano())
			return
		}
		_, _ = io.WriteString(w, `{"status":"processing"}`)
	}))
	defer backend.Close()
	p := newProgram(t, `{
	admin off
	servers {
		trusted_proxies static 127.0.0.1 ::1
		trusted_proxies_strict
	}
}
http://localhost:8080 {
	speechgate amivoice {
		upstream_key the-backend-key
		grace 15s
	}
	reverse_proxy `+strings.TrimPrefix(backend.URL, "http://")+`
}
`)
	p.start()
	account, other := p.account(), p.account()
	_, colleague := p.key(account)
	_, stranger := p.key(other)
	_, otherExpired := p.key(account, "--expires", "1s")
	keyID, key := p.key(account, "--expires", "2s")
	_, created := p.post("/v1/recognitions", key)
	job, _ := created["sessionid"].(string)
	revokedID, revoked := p.key(account, "--expires", "2s")
	_, created = p.post("/v1/recognitions", revoked)
	revokedJob, _ := created["sessionid"].(string)
	if job == "" || revokedJob == "" {
		t.Fatalf("no jobs were created; the gateway's output:\n%s", p.output)
	}
	_, bound := p.key(account, "--expires", "2s", "--allow", "203.0.113.7")
	_, created = p.post("/v1/recognitions", bound, "X-Forwarded-For", "203.0.113.7")
	boundJob, _ := created["sessionid"].(string)
	p.kill() // the answers have come, so the records must be there
	p.start()

	status := func(job, key string) int {
		t.Helper()
		code, _ := p.poll(job, key)
		return code
	}
	for _, key := range []string{otherExpired, key, revoked, bound} {
		p.eventually("the key expires for new work", func() bool {
			_, answer := p.post("/v1/recognize", key)
			return answer["code"] == "-"
		})
	}
	for who, want := range map[string]struct {
		key  string
		code int
	}{
		"the expired key of the job":              {key, http.StatusOK},
		"a valid key of the account":              {colleague, http.StatusOK},
		"another expired key":                     {otherExpired, http.StatusUnauthorized},
		"another account's key":                   {stranger, http.StatusNotFound},
		"an expired key, for another key's job":   {revoked, http.StatusUnauthorized},
		"a key that does not exist and never did": {"nobody", http.StatusUnauthorized},
	} {
		if got := status(job, want.key); got != want.code {
			t.Errorf("%s: status %d, want %d", who, got, want.code)
		}
	}
	if got, _ := p.poll(boundJob, bound, "X-Forwarded-For", "203.0.113.7"); got != http.StatusOK {
		t.Errorf("from the address that the key is bound to: status %d", got)
	}
	if got := status(boundJob, bound); got != http.StatusUnauthorized {
		t.Errorf("from another address: status %d", got)
	}
	foreignCode, foreign := p.poll(job, stranger)
	unknownCode, unknown := p.poll("unknown", stranger)
	if foreignCode != unknownCode || fmt.Sprint(foreign) != fmt.Sprint(unknown) {
		t.Errorf("a foreign job: %d, %v; an unknown one: %d, %v", foreignCode, foreign, unknownCode, unknown)
	}
	if got := status(revokedJob, revoked); got != http.StatusOK {
		t.Errorf("before it is revoked: status %d", got)
	}
	p.run("key", "revoke", revokedID, "--reason", "test")
	p.eventually("the revocation counts", func() bool { return status(revokedJob, revoked) == http.StatusUnauthorized })
	p.eventually("the window closes", func() bool { return status(job, key) == http.StatusUnauthorized })
	if got := status(job, colleague); got != http.StatusOK {
		t.Errorf("a valid key after the window: status %d", got)
	}
	if shown := p.run("key", "show", keyID); shown["status"] != "expired" {
		t.Errorf("key show prints %v", shown)
	}
	p.kill()
	p.start()
	if got := status(revokedJob, revoked); got != http.StatusUnauthorized {
		t.Errorf("the revoked key after another restart: status %d", got)
	}
	p.run("account", "close", account, "--yes")
	p.eventually("closing the account counts", func() bool { return status(job, colleague) == http.StatusUnauthorized })
	p.kill()
	p.start()
	if got := status(job, colleague); got != http.StatusUnauthorized {
		t.Errorf("a closed account's key after another restart: status %d", got)
	}
}
