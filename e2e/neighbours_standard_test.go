package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

var standardNeighbours = []neighbour{
	{
		row: "encode", order: "order encode before speechgate",
		written: "encode" + forBackend,
		right: func(s *besideSite) {
			s.works()
			job := s.create(s.key, "Accept-Encoding", "gzip")
			poll := s.read(job, s.key, "Accept-Encoding", "gzip")
			s.want("a poll", poll, http.StatusOK)
			if poll.header.Get("Content-Encoding") != "gzip" || !strings.Contains(poll.body, "word word") || strings.Contains(poll.body, besideKey) {
				s.t.Errorf("want a compressed answer without the upstream key, got %v %q", poll.header, poll.body)
			}
		},
		wrong: func(s *besideSite) {
			s.works()
			poll := s.read(s.create(s.key), s.key, "Accept-Encoding", "gzip")
			if encoding := poll.header.Get("Content-Encoding"); encoding != "" {
				s.t.Errorf("the answer is compressed with %s", encoding)
			}
		},
	},
	{
		row: "forward_auth", order: "order forward_auth before speechgate",
		written: "forward_auth BACKEND {\n uri /check\n }" + forBackend,
		right: func(s *besideSite) {
			s.works()
			s.read(s.create(s.key), s.key)
			if got := s.last("/check").Header.Get("Authorization"); got != "Bearer "+s.key {
				s.t.Errorf("the auth server gets %q, want the client's key", got)
			}
		},
		wrong: func(s *besideSite) {
			s.read(s.create(s.key), s.key)
			if got := s.last("/check").Header.Get("Authorization"); got != "Bearer "+besideKey {
				s.t.Errorf("the auth server gets %q, want the upstream key", got)
			}
		},
	},
	{
		row:       "basic_auth",
		written:   "handle /panel* {\n " + basicAuth + " respond panel\n }\n handle {\n GATE\n reverse_proxy BACKEND\n }",
		otherwise: basicAuth + forBackend,
		right: func(s *besideSite) {
			s.works()
			s.want("a page for people", s.send(http.MethodGet, "/panel", nil), http.StatusUnauthorized)
		},
		wrong: func(s *besideSite) {
			s.want("a key without a password", s.recognize(s.key), http.StatusUnauthorized)
			s.want("a password without a key", s.send(http.MethodGet, "/v1/recognitions/job1", nil, "Authorization", "Basic Ym9iOnNlY3JldA=="), http.StatusUnauthorized)
			s.refused("both", s.recognize(s.key, "Authorization", "Basic Ym9iOnNlY3JldA=="))
			s.eventually("the log has the reason", func() bool {
				return strings.Contains(s.output.String(), `"reason":"credential_malformed","operation":"recognize"`)
			})
		},
	},
	{
		row:       "request_header",
		written:   "route {\n " + keyInAnotherHeader + " GATE\n reverse_proxy BACKEND\n }",
		otherwise: keyInAnotherHeader + forBackend,
		right: func(s *besideSite) {
			s.works()
			job := s.create(s.key)
			s.want("a key in X-Api-Key", s.send(http.MethodGet, job, nil, "X-Api-Key", s.key), http.StatusOK)
			if got := s.last(job).Header; got.Get("X-Api-Key") != "" || got.Get("Authorization") != "Bearer "+besideKey {
				s.t.Errorf("the backend gets %v", got)
			}
		},
		wrong: func(s *besideSite) {
			s.want("a key in X-Api-Key", s.send(http.MethodGet, s.create(s.key), nil, "X-Api-Key", s.key), http.StatusUnauthorized)
		},
	},
	{
		row: "vars", order: "order vars after speechgate",
		written: "vars tenant {speechgate.account_id}\n request_header X-Tenant {vars.tenant}" + forBackend,
		right:   func(s *besideSite) { s.tenant(s.account) },
		wrong:   func(s *besideSite) { s.tenant("") },
	},
	{
		row: "intercept", order: "order intercept before speechgate",
		written: "intercept {\n @refused status 401\n handle_response @refused {\n header -Content-Length\n respond `{\"refused\":true}` 401\n }\n }" + forBackend,
		right: func(s *besideSite) {
			s.works()
			if answer := s.read("/v1/recognitions/job1", "nobody"); answer.body != `{"refused":true}` {
				s.t.Errorf("the client gets %q, want the answer of intercept", answer.body)
			}
		},
		wrong: func(s *besideSite) {
			if answer := s.read("/v1/recognitions/job1", "nobody"); answer.body != `{"message":"received illegal service authorization"}` {
				s.t.Errorf("the client gets %q, want the answer of the gate", answer.body)
			}
		},
	},
	{
		row:       "handle_path",
		written:   "handle_path /asr/* {\n GATE\n reverse_proxy BACKEND\n }",
		otherwise: "GATE\n handle_path /asr/* {\n reverse_proxy BACKEND\n }",
		right:     func(s *besideSite) { s.below("/asr", http.StatusOK) },
		wrong:     func(s *besideSite) { s.below("/asr", http.StatusNotFound) },
	},
	{
		row:       "respond, metrics, file_server",
		written:   "handle /status {\n respond OK\n }\n handle {\n GATE\n reverse_proxy BACKEND\n }",
		otherwise: "GATE\n respond /status OK\n reverse_proxy BACKEND",
		right: func(s *besideSite) {
			s.works()
			s.want("the status", s.send(http.MethodGet, "/status", nil), http.StatusOK)
		},
		wrong: func(s *besideSite) {
			s.want("the status", s.send(http.MethodGet, "/status", nil), http.StatusNotFound)
		},
	},
	{
		row:     "invoke",
		top:     [2]string{"&(api) {\n route {\n GATE\n reverse_proxy BACKEND\n }\n}", "&(api) {\n GATE\n reverse_proxy BACKEND\n}"},
		written: "invoke api",
		right:   func(s *besideSite) { s.works() },
		wrong:   func(s *besideSite) { s.want("a recognition", s.recognize(s.key), http.StatusBadGateway) },
	},
	{
		row:       "reverse_proxy with handle_response",
		written:   "GATE\n reverse_proxy BACKEND {\n @good status 200\n handle_response @good {\n copy_response\n }\n }",
		otherwise: "GATE\n reverse_proxy BACKEND {\n @created {\n status 200\n }\n handle_response @created {\n respond `{\"accepted\":true}`\n }\n }",
		right:     func(s *besideSite) { s.works() },
		wrong: func(s *besideSite) {
			answer := s.send(http.MethodPost, "/v2/recognitions", strings.NewReader(recognitionForm(s.key, "u")), "Content-Type", clientForm)
			s.want("a job's creation", answer, http.StatusOK)
			if answer.body != `{"accepted":true}` {
				s.t.Errorf("the client gets %q", answer.body)
			}
			s.backend.mu.Lock()
			job := fmt.Sprintf("/v1/recognitions/job%d", s.backend.jobs)
			s.backend.mu.Unlock()
			s.want("a poll of the job", s.read(job, s.key), http.StatusNotFound)
		},
	},
	{
		row:     "request_body",
		written: "request_body {\n max_size 1KB\n }" + forBackend,
		right: func(s *besideSite) {
			s.want("an upload above max_size", s.recognize(s.key), http.StatusRequestEntityTooLarge)
			s.want("a poll", s.read("/v1/recognitions/job0", s.key), http.StatusNotFound)
			s.want("an unknown key", s.read("/v1/recognitions/job0", "nobody"), http.StatusUnauthorized)
		},
	},
	{
		row:     "rewrite, uri",
		written: "uri strip_prefix /asr" + forBackend,
		right: func(s *besideSite) {
			s.works()
			s.below("/asr", http.StatusOK)
		},
	},
	{
		row:     "map",
		written: "map {speechgate.account_id} {tenant} {\n ~.+ ${0}\n default none\n }\n request_header X-Tenant {tenant}" + forBackend,
		right:   func(s *besideSite) { s.tenant(s.account) },
	},
	{
		row:       "templates",
		written:   "templates" + forBackend,
		otherwise: "templates {\n mime application/json\n }" + forBackend,
		right: func(s *besideSite) {
			s.works()
			if poll := s.read(s.create(s.key), s.key); !strings.Contains(poll.body, "{{.Req.Host}}") {
				s.t.Errorf("the answer has changed: %.200s", poll.body)
			}
		},
		wrong: func(s *besideSite) {
			if poll := s.read(s.create(s.key), s.key); !strings.Contains(poll.body, s.host) {
				s.t.Errorf("the template in the answer does not run: %.200s", poll.body)
			}
		},
	},
	{
		row:     "tracing",
		written: "tracing {\n span NAME-of-the-gate\n }" + forBackend,
		right: func(s *besideSite) {
			s.works()
			if answer := s.send(http.MethodPost, "/v1/recognize?d=-a-general&u="+s.key, strings.NewReader("audio"), "Content-Type", "application/octet-stream"); !strings.Contains(answer.body, "word word") {
				s.t.Errorf("a recognition with the key in the query: %v", answer)
			}
			spans := ""
			s.eventually("spans come", func() bool {
				s.backend.mu.Lock()
				defer s.backend.mu.Unlock()
				spans = s.backend.spans.String()
				return strings.Contains(spans, "tracing-of-the-gate")
			})
			for _, secret := range []string{s.key, s.sibling, s.foreign, besideKey} {
				if strings.Contains(spans, secret) {
					s.t.Error("a span has a key")
				}
			}
		},
	},
}

const (
	basicAuth          = "basic_auth {\n bob $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n"
	keyInAnotherHeader = "@named header X-Api-Key *\n request_header @named Authorization \"Bearer {header.X-Api-Key}\"\n request_header -X-Api-Key\n"
)

// tenant checks what the backend is told about the account.
func (s *besideSite) tenant(want string) {
	s.t.Helper()
	s.recognizes(s.key)
	if got := s.last("/v1/recognize").Header.Get("X-Tenant"); got != want {
		s.t.Errorf("the backend gets the account %q, want %q", got, want)
	}
}

// below recognizes at a path with a prefix that the backend does not know.
func (s *besideSite) below(prefix string, status int) {
	s.t.Helper()
	answer := s.send(http.MethodPost, prefix+"/v1/recognize", strings.NewReader(recognitionForm(s.key, "u")), "Content-Type", clientForm)
	s.want("a recognition", answer, status)
	if reached := strings.Contains(answer.body, "word word"); reached != (status == http.StatusOK) {
		s.t.Errorf("the answer is %.200s", answer.body)
	}
}

func TestNeighboursOfCaddy(t *testing.T) {
	t.Parallel()
	testNeighbours(t, "caddy", standardNeighbours, "")
}
