package e2e_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// clientRequest is one that a client of another language is told to send.
type clientRequest struct{ method, path, contentType, key, file string }

// TestR15_ClientsThatOfferH2CAreServed holds that the JDK's HTTP client and curl --http2,
// which offer h2c with every cleartext request, get what other clients get: for each
// operation, with good keys and bad ones.
func TestR15_ClientsThatOfferH2CAreServed(t *testing.T) {
	t.Parallel()
	for name, exchange := range map[string]func(t *testing.T, base string, requests []clientRequest) []string{
		"the JDK's client": javaExchange,
		"curl":             curlExchange,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, account := newExample(t)
			_, issuer := p.key(account, "--expires", "1h", "--issuable")
			created, _ := p.post("/v2/recognitions", issuer)
			if created != http.StatusOK {
				t.Fatalf("creating a job: status %d", created)
			}
			job := p.runList("job", "list", "--account", account)[0]["job_id"].(string)
			form := func(key string) string { return clientFile(t, "form", recognitionForm(key, "u")) }
			requests := []clientRequest{
				{"POST", "/v1/recognize", clientForm, "-", form(issuer)},
				{"POST", "/v1/nolog/recognize?d=-a-general&u=" + issuer, "application/octet-stream", "-", clientFile(t, "wav", string(sandbox.SpeechWAV()))},
				{"POST", "/v2/recognitions", clientForm, "-", form(issuer)},
				{"GET", "/v2/recognitions/" + job, "-", issuer, "-"},
				{"POST", issuancePath, "application/x-www-form-urlencoded", issuer, clientFile(t, "issue", "epi=30s")},
				{"POST", "/v1/recognize", clientForm, "-", form("nobody")},
				{"POST", "/v2/recognitions", clientForm, "-", form("nobody")},
				{"GET", "/v2/recognitions/" + job, "-", "nobody", "-"},
				{"POST", issuancePath, "application/x-www-form-urlencoded", "nobody", clientFile(t, "issue", "epi=30s")},
			}
			answers := exchange(t, strings.Replace(p.base, "localhost", "127.0.0.1", 1), requests)
			if len(answers) != len(requests) {
				t.Fatalf("%d answers: %q; the gateway's output:\n%s", len(answers), answers, p.output)
			}
			const recognized, denied = "5.82 s of 16000 Hz mono", `"code":"-","message":"received illegal service authorization"}` + "\r\n"
			for i, want := range []struct{ prefix, part string }{
				{"200 ", recognized},
				{"200 ", recognized},
				{"200 ", `"sessionid"`},
				{"200 ", `"status"`},
				{"200 -\nsgk_", ""},
				{"200 ", denied},
				{"200 ", denied},
				{unauthorized401, ""},
				{"401 -\n", "The credentials are not valid"},
			} {
				if got := answers[i]; !strings.HasPrefix(got, want.prefix) || !strings.Contains(got, want.part) ||
					strings.Contains(want.part, "code") && strings.HasPrefix(got, "200 -") {
					t.Errorf("%s %s, answer %d: %q, want %q … %q", requests[i].method, requests[i].path, i, got, want.prefix, want.part)
				}
			}
			if n := strings.Count(p.output.String(), `"Upgrade":["h2c"]`); n != len(requests) {
				t.Errorf("the access log has %d requests that offer h2c, of %d: the test tests nothing", n, len(requests))
			}
			p.kept(issuer)
		})
	}
}

func javaExchange(t *testing.T, base string, requests []clientRequest) []string {
	t.Helper()
	var args []string
	for _, r := range requests {
		args = append(args, fmt.Sprint(r.method, " ", base+r.path, " ", r.contentType, " ", r.key, " ", r.file))
	}
	out, err := javaCommand(t, "Exchange.java", args...).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderrOf(err))
	}
	answers := strings.Split(string(out), "\n---\n")
	return answers[:len(answers)-1]
}

func curlExchange(t *testing.T, base string, requests []clientRequest) (answers []string) {
	t.Helper()
	curl := tool(t, "curl")
	for _, r := range requests {
		args := []string{"-sS", "--http2", "-X", r.method, "-o", "-", "-w", "\n---\n%{http_code} %{header_json}"}
		if r.contentType != "-" {
			args = append(args, "-H", "Content-Type: "+r.contentType)
		}
		if r.key != "-" {
			args = append(args, "-H", "Authorization: Bearer "+r.key)
		}
		if r.file != "-" {
			args = append(args, "--data-binary", "@"+r.file)
		}
		out, err := exec.Command(curl, append(args, base+r.path)...).Output()
		if err != nil {
			t.Fatalf("%v: %s", err, stderrOf(err))
		}
		body, written, _ := strings.Cut(string(out), "\n---\n")
		session := "-"
		if strings.Contains(written, `"x-session-id"`) {
			session = "given"
		}
		answers = append(answers, written[:3]+" "+session+"\n"+body)
	}
	return answers
}

// TestR15_AnOfferOfH2CIsIgnoredByAServerThatSpeaksIt holds that Caddy's option h2c changes
// nothing about offers: a client that knows beforehand speaks HTTP/2, and one that offers it
// is served over HTTP/1.1.
func TestR15_AnOfferOfH2CIsIgnoredByAServerThatSpeaksIt(t *testing.T) {
	t.Parallel()
	curl := tool(t, "curl")
	p := newProgram(t, `{
	admin off
	servers {
		protocols h1 h2c
	}
}
http://:8080 {
	speechgate amivoice
	speechgate_sandbox amivoice
}
`)
	p.start()
	_, key := p.key(p.account(), "--expires", "1h")
	for option, version := range map[string]string{"--http2": "1.1", "--http2-prior-knowledge": "2"} {
		for key, text := range map[string]string{key: "5.82 s of 16000 Hz mono", "nobody": "received illegal service authorization"} {
			out, err := exec.Command(curl, "-sS", option, "-H", "Content-Type: "+clientForm, "--data-binary", "@"+clientFile(t, "form", recognitionForm(key, "u")),
				"-w", "%{http_code} over HTTP/%{http_version}", p.base+"/v1/recognize").Output()
			if err != nil || !strings.Contains(string(out), text) || !strings.HasSuffix(string(out), "200 over HTTP/"+version) {
				t.Errorf("%s: %q, %v: %s", option, out, err, stderrOf(err))
			}
		}
	}
}
