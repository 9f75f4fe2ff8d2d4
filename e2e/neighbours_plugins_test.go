package e2e_test

import (
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// neighboursBinary is the build of e2e/neighbours: the gateway with other plugins.
func neighboursBinary(t *testing.T) string {
	t.Helper()
	binary := os.Getenv("SPEECHGATE_NEIGHBOURS")
	switch {
	case binary != "":
	case os.Getenv("CI") != "":
		t.Fatal("SPEECHGATE_NEIGHBOURS is not set: want the path of a build of e2e/neighbours")
	default:
		t.Skip("SPEECHGATE_NEIGHBOURS is not set to the path of a build of e2e/neighbours")
	}
	return binary
}

const besideWAF = "coraza_waf MATCHER {\n directives `SecRuleEngine On\nSecRequestBodyAccess BODY\nSecAuditEngine On\nSecAuditLogParts ABHZ\nSecAuditLogFormat json\nSecAuditLog DIR/NAME.log`\n }\n"

func wafWith(body, matcher string) string {
	return strings.NewReplacer("BODY", body, "MATCHER", matcher).Replace(besideWAF)
}

const besideLimit = "rate_limit {\n zone NAME {\n MATCH\n key {speechgate.key_id}\n events 3\n window 10m\n }\n }\n"

func limitWith(match string) string { return strings.Replace(besideLimit, "MATCH", match, 1) }

const (
	forBackend = "\n GATE\n reverse_proxy BACKEND"
	forSandbox = "\n GATE\n reverse_proxy SANDBOX"
)

var pluginNeighbours = []neighbour{
	{
		row: "cache", order: "order cache after speechgate",
		written: "cache {\n mode bypass\n }" + forBackend,
		right: func(s *besideSite) {
			s.works()
			job := s.create(s.key)
			if first, second := s.read(job, s.key), s.read(job, s.key); first.body != second.body {
				s.t.Errorf("the cache does not keep an answer that it may keep: %q and %q", first.body, second.body)
			}
			if first, second := s.recognize(s.key), s.recognize(s.foreign); first.body == second.body {
				s.t.Errorf("two recognitions have one answer: %q", first.body)
			}
			id, revoked := s.program.key(s.account)
			s.want("a key before it is revoked", s.read(job, revoked), http.StatusOK)
			s.run("key", "revoke", id, "--reason", "test")
			s.eventually("the revoked key is refused", func() bool { return s.read(job, revoked).status == http.StatusUnauthorized })
			if strings.Contains(s.output.String(), "a cache handler comes before the gate") {
				s.t.Errorf("the gateway warns of a cache that is in its place:\n%s", s.output)
			}
		},
		wrong: func(s *besideSite) {
			job := s.create(s.key)
			first := s.read(job, s.key)
			for _, key := range []string{s.foreign, "nobody"} {
				if other := s.read(job, key); other.body != first.body {
					s.t.Errorf("another client gets %d %q, want the answer to the first client", other.status, other.body)
				}
			}
			s.eventually("the gateway warns", func() bool {
				return strings.Contains(s.output.String(), "a cache handler comes before the gate")
			})
		},
	},
	{
		row: "rate_limit", order: "order rate_limit after speechgate",
		written: limitWith("") + forBackend,
		right: func(s *besideSite) {
			for range 3 {
				s.recognizes(s.key)
			}
			over := s.recognize(s.key)
			s.want("over the limit", over, http.StatusTooManyRequests)
			if over.header.Get("Retry-After") == "" {
				s.t.Error("the 429 has no Retry-After")
			}
			s.recognizes(s.foreign)
		},
		wrong: func(s *besideSite) {
			for range 3 {
				s.refused("within the limit", s.recognize("nobody"))
			}
			s.want("another client", s.recognize(s.key), http.StatusTooManyRequests)
			s.eventually("the gateway warns", func() bool {
				return strings.Contains(s.output.String(), "a rate_limit handler whose key is a placeholder of the gate comes before the gate")
			})
		},
	},
	{
		row:       "rate_limit, live streams",
		written:   "route {\n GATE\n" + limitWith("match {\n not path /v1/ /v1/nolog/\n }") + " reverse_proxy SANDBOX\n }",
		otherwise: "route {\n GATE\n" + limitWith("") + " reverse_proxy SANDBOX\n }",
		right: func(s *besideSite) {
			for range 5 {
				s.open(s.key).WantText("s")
			}
		},
		wrong: func(s *besideSite) {
			for range 3 {
				s.open(s.key).WantText("s")
			}
			s.open(s.key).WantText(failedStart)
			s.open(s.foreign).WantText("s")
		},
	},
	{
		row:       "rate_limit, clients that guess keys",
		written:   "route {\n" + strings.Replace(limitWith(""), "{speechgate.key_id}", "{client_ip}", 1) + forBackend + "\n }",
		otherwise: "route {\n GATE\n" + limitWith("") + " reverse_proxy BACKEND\n }",
		right: func(s *besideSite) {
			for range 3 {
				s.refused("a guess", s.recognize("nobody"))
			}
			s.want("one guess more", s.recognize("nobody"), http.StatusTooManyRequests)
		},
		wrong: func(s *besideSite) {
			for range 5 {
				s.refused("a guess", s.recognize("nobody"))
			}
		},
	},
	{
		row: "coraza_waf", order: "order coraza_waf before speechgate", other: "order coraza_waf after speechgate",
		written: wafWith("Off", "") + forBackend,
		right: func(s *besideSite) {
			s.works()
			if log := s.file("coraza-waf.log"); strings.Contains(log, besideKey) || !strings.Contains(log, s.key) {
				s.t.Error("the audit log has the upstream key, or does not have the client's")
			}
		},
		wrong: func(s *besideSite) {
			s.read(s.create(s.key), s.key)
			if !strings.Contains(s.file("coraza-waf.log"), besideKey) {
				s.t.Error("the audit log does not have the upstream key")
			}
			s.eventually("the gateway warns", func() bool { return strings.Contains(s.output.String(), "a WAF comes behind the gate") })
		},
	},
	{
		row:       "coraza_waf, live streams",
		written:   "route {\n @requests not path /v1/ /v1/nolog/\n" + wafWith("Off", "@requests") + forSandbox + "\n }",
		otherwise: "route {\n" + wafWith("Off", "") + forSandbox + "\n }",
		right: func(s *besideSite) {
			s.open(s.key).WantText("s")
			s.refused("a recognition with an unknown key", s.recognize("nobody"))
			if s.file("coraza-waf-live-streams.log") == "" {
				s.t.Error("the WAF has not seen the recognition")
			}
		},
		wrong: func(s *besideSite) {
			s.open(s.key)
			s.eventually("the gate says that the connection is of no use", func() bool {
				return strings.Contains(s.output.String(), "a connection cannot become a stream")
			})
		},
	},
	{
		row:       "coraza_waf, uploads",
		written:   "route {\n" + wafWith("Off", "") + forBackend + "\n }",
		otherwise: "route {\n" + wafWith("On", "") + forBackend + "\n }",
		right: func(s *besideSite) {
			if !s.upload("nobody", mustCome, answered) {
				s.t.Error("the refusal does not come before the end of the upload")
			}
			if !s.upload(s.key, mustCome, s.reached) {
				s.t.Error("the upload does not reach the backend before its end")
			}
		},
		wrong: func(s *besideSite) {
			if s.upload("nobody", mustNotCome, answered) {
				s.t.Error("the refusal comes before the end of the upload")
			}
			if s.upload(s.key, mustNotCome, s.reached) {
				s.t.Error("the upload reaches the backend before its end")
			}
		},
	},
	{
		row:     "layer4",
		written: "GATE\n reverse_proxy BACKEND",
		right:   func(s *besideSite) { s.throughLayer4(s.proxied, http.StatusOK) },
		wrong:   func(s *besideSite) { s.throughLayer4(s.plain, http.StatusUnauthorized) },
	},
	{
		row:       "authorize",
		written:   "handle /panel* {\n authorize with staff\n respond panel\n }\n handle {\n GATE\n reverse_proxy BACKEND\n }",
		otherwise: "authorize with staff" + forBackend,
		right: func(s *besideSite) {
			s.works()
			s.want("a page for people", s.send(http.MethodGet, "/panel", nil), http.StatusFound)
		},
		wrong: func(s *besideSite) {
			answer := s.recognize(s.key)
			s.want("a recognition", answer, http.StatusFound)
			if !strings.HasPrefix(answer.header.Get("Location"), "/login") {
				s.t.Errorf("the client is sent to %q, want the login page", answer.header.Get("Location"))
			}
		},
	},
	{
		row:       "request_body_var",
		written:   "route {\n GATE\n @json header Content-Type application/json*\n request_body_var @json\n request_header @json X-Tag {http.request.body.tag}\n reverse_proxy BACKEND\n }",
		otherwise: "route {\n GATE\n request_body_var\n request_header X-Tag {http.request.body.tag}\n reverse_proxy BACKEND\n }",
		right: func(s *besideSite) {
			s.works()
			if !s.upload(s.key, mustCome, s.reached) {
				s.t.Error("the upload does not reach the backend before its end")
			}
		},
		wrong: func(s *besideSite) {
			if s.upload(s.key, mustNotCome, s.reached) {
				s.t.Error("the upload reaches the backend before its end")
			}
		},
	},
}

// throughLayer4 reads a job with a key that is bound to 127.0.0.2, from this address.
func (s *besideSite) throughLayer4(port string, status int) {
	s.t.Helper()
	_, bound := s.program.key(s.account, "--allow", "127.0.0.2")
	job := s.create(s.key)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := dialer.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	client := http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return conn, nil }}} //nolint:staticcheck // one connection, which is there
	req, err := http.NewRequest(http.MethodGet, s.base+job, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = s.host
	req.Header.Set("Authorization", "Bearer "+bound)
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != status {
		s.t.Errorf("status %d, want %d; the gateway's output:\n%s", resp.StatusCode, status, s.output)
	}
}

func TestNeighboursOfOtherAuthors(t *testing.T) {
	t.Parallel()
	testNeighbours(t, neighboursBinary(t), pluginNeighbours, `
	servers :8080 {
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.1/32
			}
		}
	}
	layer4 {
		127.0.0.1:8443 {
			route {
				proxy 127.0.0.1:8080
			}
		}
		127.0.0.1:8444 {
			route {
				proxy {
					proxy_protocol v2
					upstream 127.0.0.1:8080
				}
			}
		}
	}
	security {
		authorization policy staff {
			crypto key verify 0e2fdcf8-6868-41a7-884b-7308795fc286
			set auth url /login
			allow roles staff
		}
	}`)
}
