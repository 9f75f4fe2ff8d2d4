package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestR10_Speechmatics_JobsAreFoundInBothFormsOfACreation(t *testing.T) {
	g := newDialectGateway(t, "speechmatics", "")
	_, secret := g.issue(keystore.NewKey{})
	long := strings.Repeat(`{"type":"word"},`, 10_000) + `{}`
	for id, answer := range map[string]string{
		"a1b2": `{"id":"a1b2"}`,
		"c3d4": `{"format":"2.9","job":{"created_at":"2026-11-28T00:00:00Z","duration":3,"id":"c3d4"},"results":[` + long + `]}`, // ?wait=
	} {
		g.backend.respondPieces(http.StatusCreated, len(answer), answer)
		got := g.ask("POST", "/v2/jobs?wait=5", "Bearer "+secret, `{"type":"transcription"}`)
		if got.status != http.StatusCreated || got.body != answer {
			t.Errorf("%s: status %d, %d bytes of %d", id, got.status, len(got.body), len(answer))
		}
		if _, err := g.jobOf(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	for status, end := range map[int]bool{http.StatusOK: false, http.StatusInternalServerError: false, http.StatusGone: true} {
		g.backend.respondText(status, `{"job":{"id":"a1b2","status":"running"}}`)
		_ = g.ask("GET", "/v2/jobs/a1b2", "Bearer "+secret, "")
		if job, _ := g.jobOf("a1b2"); job.EndedAt.IsZero() && end {
			t.Errorf("after status %d the job is %+v", status, job)
		}
	}
	g.backend.respondText(http.StatusOK, `{"job":{"id":"c3d4","status":"deleted"}}`)
	if got := g.ask("DELETE", "/v2/jobs/c3d4?force=true", "Bearer "+secret, ""); got.status != http.StatusOK {
		t.Errorf("the deletion: status %d", got.status)
	}
	if job, _ := g.jobOf("c3d4"); job.EndedAt.IsZero() || job.State != policy.JobFailed {
		t.Errorf("after the deletion the job is %+v", job)
	}
	g.backend.respondText(http.StatusOK, `{"jobs":[{"id":"zzzz"},{"id":"c3d4"}]}`)
	if got := g.ask("GET", "/v2/jobs", "Bearer "+secret, ""); got.body != `{"jobs":[{"id":"c3d4"}]}` {
		t.Errorf("the list: status %d, %s", got.status, got.body)
	}
}

// The vendor answers 404 to a request for the transcript of a job that is running.
func TestR12_Speechmatics_AMissingResultDoesNotEndAJob(t *testing.T) {
	g := newDialectGateway(t, "speechmatics", "")
	_, secret := g.issue(keystore.NewKey{})
	g.backend.respondText(http.StatusCreated, `{"id":"a1b2"}`)
	_ = g.ask("POST", "/v2/jobs", "Bearer "+secret, "")
	for _, step := range []struct {
		path  string
		ended bool
	}{{"/v2/jobs/a1b2/transcript", false}, {"/v2/jobs/a1b2/log", false}, {"/v2/jobs/a1b2", true}} {
		g.backend.respondText(http.StatusNotFound, `{"code":404,"error":"Job not found"}`)
		if got := g.ask("GET", step.path, "Bearer "+secret, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: status %d", step.path, got.status)
		}
		if job, _ := g.jobOf("a1b2"); job.EndedAt.IsZero() == step.ended {
			t.Errorf("after %s the job is %+v", step.path, job)
		}
	}
}

// The vendor's examples write a slash behind the path of the jobs. The vendor's worker has another list.
func TestSpeechmatics_OtherFormsOfRequestsAndLists(t *testing.T) {
	g := newDialectGateway(t, "speechmatics", "")
	_, secret := g.issue(keystore.NewKey{})
	g.backend.respondText(http.StatusCreated, `{"id":"a1b2"}`)
	if got := g.ask("POST", "/v2/jobs/?wait=60&format=txt", "Bearer "+secret, ""); got.status != http.StatusCreated {
		t.Fatalf("the creation: status %d, %s", got.status, got.body)
	}
	if got := g.backend.received(); !strings.HasPrefix(got, "POST /v2/jobs/?wait=60&format=txt HTTP/1.1\r\n") {
		t.Errorf("the backend got %q", got)
	}
	for answer, want := range map[string]string{
		`{"jobs":[{"id":"zzzz"},{"id":"a1b2"}]}`: `{"jobs":[{"id":"a1b2"}]}`,
		`{"active_jobs":[{"job_id":"zzzz","parallel_engines":1},{"job_id":"a1b2","parallel_engines":1}],"max_engines":8,"unused_engines":6}`: `{"active_jobs":[{"job_id":"a1b2","parallel_engines":1}],"max_engines":8,"unused_engines":6}`,
	} {
		for _, path := range []string{"/v2/jobs", "/v2/jobs/"} {
			g.backend.respondText(http.StatusOK, answer)
			if got := g.ask("GET", path, "Bearer "+secret, ""); got.body != want {
				t.Errorf("%s: status %d, %s, want %s", path, got.status, got.body, want)
			}
		}
	}
	if got := g.ask("GET", "/v2/usage", "Bearer "+secret, ""); got.status != http.StatusNotFound || got.body != `{"code":404,"error":"Not Implemented","detail":"path not found"}` {
		t.Errorf("usage: status %d, %s", got.status, got.body)
	}
}

// A client could take the last ID of an answer, and the gate has recorded the first one.
func TestR10_Speechmatics_ALongAnswerWithTwoIDsBreaksOff(t *testing.T) {
	g := newDialectGateway(t, "speechmatics", "")
	_, secret := g.issue(keystore.NewKey{})
	long := `"results":"` + strings.Repeat("a", 200_000) + `"`
	for n, test := range []struct {
		end    string
		breaks bool
	}{{`}`, false}, {`,"job":{}}`, true}, {`,"id":"other"}`, true}, {`,"Job":{"id":"other"}}`, true}, {`,}`, true}} {
		id := fmt.Sprintf("job-%d", n)
		answer := `{"job":{"id":"` + id + `"},` + long + test.end
		g.backend.respondPieces(http.StatusCreated, len(answer), answer)
		conn := g.dial(t)
		_, _ = io.WriteString(conn, "POST /v2/jobs?wait=5 HTTP/1.1\r\nHost: "+g.addr+"\r\nConnection: close\r\nAuthorization: Bearer "+secret+"\r\nContent-Length: 0\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %v, %v", test.end, resp, err)
		}
		body, err := io.ReadAll(resp.Body)
		if broken := err != nil; broken != test.breaks || strings.Contains(string(body), "other") || !broken && string(body) != answer {
			t.Errorf("%s: %d bytes of %d, %v", test.end, len(body), len(answer), err)
		}
		if _, err := g.jobOf(id); err != nil {
			t.Errorf("%s: %v", test.end, err)
		}
	}
	if n := strings.Count(g.log(), `"answer broken off"`); n != 4 {
		t.Errorf("the log says %d times that an answer was broken off, want 4", n)
	}
}

// The worker that people run themselves writes the ID and the states of a job in another way:
// https://docs.speechmatics.com, "Batch persistent worker".
func TestR10_Speechmatics_TheWorkersJobsAreRecorded(t *testing.T) {
	g := newDialectGateway(t, "speechmatics", "")
	_, secret := g.issue(keystore.NewKey{})
	g.backend.respondText(http.StatusCreated, `{"job_id":"abcdefgh01"}`)
	if got := g.ask("POST", "/v2/jobs", "Bearer "+secret, ""); got.status != http.StatusCreated {
		t.Fatalf("the creation: status %d, %s", got.status, got.body)
	}
	for _, step := range []struct {
		word  string
		state policy.JobState
	}{{"RUNNING", policy.JobProcessing}, {"DONE", policy.JobCompleted}} {
		g.backend.respondText(http.StatusOK, `{"job":{"id":"abcdefgh01","status":"`+step.word+`"}}`)
		if got := g.ask("GET", "/v2/jobs/abcdefgh01", "Bearer "+secret, ""); got.status != http.StatusOK {
			t.Errorf("%s: status %d, %s", step.word, got.status, got.body)
		}
		if job, err := g.jobOf("abcdefgh01"); err != nil || job.State != step.state {
			t.Errorf("after %s the job is %+v, %v", step.word, job, err)
		}
	}
}

// The vendor's library for live streams puts every credential into the query. The backend takes a key
// only in the header.
func TestSpeechmatics_AKeyInTheQueryGoesToTheHeader(t *testing.T) {
	g := newDialectGateway(t, "speechmatics", "")
	key, secret := g.issue(keystore.NewKey{})
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJ0eXAiOiJydCJ9.c2lnbmF0dXJl"
	g.backend.respondText(http.StatusCreated, `{"apikey_id":null,"key_value":"`+jwt+`"}`)
	if got := g.ask("POST", "/v1/api_keys?type=rt", "Bearer "+secret, `{"ttl":60}`); got.status != http.StatusCreated {
		t.Fatalf("the mint: status %d, %s", got.status, got.body)
	}
	g.backend.realtime(t, "", say(`{"message":"RecognitionStarted"}`))
	for shown, want := range map[string]struct{ line, header string }{
		secret: {"GET /v2/?x=1 HTTP/1.1\r\n", "Authorization: Bearer " + backendKey + "\r\n"},
		jwt:    {"GET /v2/?jwt=" + jwt + "&x=1 HTTP/1.1\r\n", ""},
	} {
		_ = g.backend.received()
		c, _ := g.dialKeyed(t, "/v2/?jwt="+shown+"&x=1")
		c.WantText(`{"message":"RecognitionStarted"}`)
		got := g.backend.received()
		if !strings.HasPrefix(got, want.line) || strings.Contains(got, "Authorization") != (want.header != "") || !strings.Contains(got, want.header) || strings.Contains(got, secret) {
			t.Errorf("the backend got %q", got)
		}
		_ = c.Close()
	}
	c, _ := g.dialKeyed(t, "/v2/?jwt="+jwt)
	c.WantText(`{"message":"RecognitionStarted"}`)
	g.revoke(key)
	wantLast(t, c, 4001, `"message":"Error"`, `"not_authorised"`)
	for _, shown := range []string{secret, jwt, "nobody"} {
		c := wstest.Dial(t, g.addr, g.keyedHandshake("/v2/?jwt="+shown))
		if got := readReply(t, c.Conn); got.status != http.StatusUnauthorized || got.body != `{"code":401,"error":"Permission Denied","detail":"Missing or invalid API key"}` {
			t.Errorf("a refused handshake: status %d, %s", got.status, got.body)
		}
	}
	if text := g.log(); strings.Contains(text, jwt) || strings.Contains(text, secret) || strings.Contains(text, backendKey) {
		t.Error("the log has a credential")
	}
}
