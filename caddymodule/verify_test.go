package caddymodule_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// verifySite has the verify endpoint at /verify. This machine and some others are its callers.
// 127.0.0.1 is a trusted proxy, and 127.0.0.2 is not.
const verifySite = `
	speechgate_verify /verify amivoice {
		callers 127.0.0.1-127.0.0.2 203.0.113.0/24
		grace 24h
		grace_after_end 1h
	}
	speechgate_verify /trial amivoice {
		callers 127.0.0.1
		backend trial
	}
	log_append verified_key {speechgate.key_id}
	log_append verified_account {speechgate.account_id}
	log_append verified_operation {speechgate.operation}
	log_append verified_reason {speechgate.reason}
	` + defaultSite

func newVerifier(t *testing.T) *gateway {
	t.Helper()
	return newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: verifySite})
}

// verify asks about a job, with a key unless the key is empty.
func (g *gateway) verify(id, key string, headers ...string) reply {
	g.t.Helper()
	headers = append(headers, "Speechgate-Job: "+id+"\r\n")
	if key != "" {
		headers = append(headers, "Authorization: Bearer "+key+"\r\n")
	}
	return g.request("GET /verify", headers...)
}

// wantAnswer checks the whole answer to a caller.
func wantAnswer(t *testing.T, got reply, status int, reason policy.Reason) {
	t.Helper()
	body := `{"reason":"` + reason.String() + `"}`
	if status == http.StatusNoContent {
		body = ""
	}
	if got.status != status || got.body != body || got.header.Get("Speechgate-Reason") != reason.String() || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s\n%s\nwant %d %s", got.raw, got.body, status, reason)
	}
	if named := got.header.Get("Speechgate-Key-Id") != "" && got.header.Get("Speechgate-Account-Id") != ""; named != (status == http.StatusNoContent) {
		t.Errorf("names a key and an account: %v\n%s", named, got.raw)
	}
	if by := got.header.Get("Speechgate-Grace-Until") != ""; by != (reason == policy.AllowedByGrace) {
		t.Errorf("names an end of grace: %v\n%s", by, got.raw)
	}
}

// recordJobFrom is recordJob for a job of a client with another address.
func (g *gateway) recordJobFrom(client, id string, key policy.Key) {
	g.t.Helper()
	job := policy.Job{
		Backend: "amivoice", ID: id, Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: now(),
	}
	if client != "" {
		job.Client = netip.MustParseAddr(client)
	}
	if err := g.keys.CreateJob(context.Background(), job); err != nil {
		g.t.Fatal(err)
	}
}

func TestR12_VerifyGivesTheJobItsGrace(t *testing.T) {
	g := newVerifier(t)
	const hour = time.Hour
	made := now().Add(-30 * hour)
	expiry := policy.ExpiresAt(made.Add(2 * hour))
	valid, validSecret := g.issue(keystore.NewKey{})
	expired, expiredSecret := g.issueAt(made, keystore.NewKey{Expires: expiry})
	_, otherExpired := g.issueAt(made, keystore.NewKey{Expires: expiry})
	g.recordJob("fresh", valid, now())
	g.recordJob("inside", expired, now().Add(-23*hour))
	g.recordJob("outside", expired, now().Add(-25*hour))
	for id, at := range map[string]policy.Time{"ended-long-ago": now().Add(-2 * hour), "ended-just-now": now().Add(-hour / 2)} {
		g.recordJob(id, expired, now().Add(-20*hour))
		if err := g.keys.SetJobState(context.Background(), "amivoice", id, policy.JobCompleted, at); err != nil {
			t.Fatal(err)
		}
	}
	for id, test := range map[string]struct {
		secret string // of the key that created the job
		status int
		reason policy.Reason
	}{
		"fresh":          {validSecret, http.StatusNoContent, policy.Allowed},
		"inside":         {expiredSecret, http.StatusNoContent, policy.AllowedByGrace},
		"outside":        {expiredSecret, http.StatusUnauthorized, policy.KeyExpired},
		"ended-just-now": {expiredSecret, http.StatusNoContent, policy.AllowedByGrace},
		"ended-long-ago": {expiredSecret, http.StatusUnauthorized, policy.KeyExpired},
	} {
		t.Run(id, func(t *testing.T) {
			g.t = t
			wantAnswer(t, g.verify(id, ""), test.status, test.reason)
			wantAnswer(t, g.verify(id, test.secret), test.status, test.reason)
		})
	}
	g.t = t

	job, err := g.keys.Job(t.Context(), "amivoice", "inside")
	if err != nil {
		t.Fatal(err)
	}
	got := g.verify("inside", "")
	for _, line := range []string{
		"Speechgate-Key-ID: " + expired.ID, "Speechgate-Account-ID: " + g.account.ID, "Speechgate-Reason: allowed_by_grace",
		"Speechgate-Grace-Until: " + job.CreatedAt.Add(24*hour).String(),
	} {
		if !strings.Contains(got.raw+"\r\n", "\r\n"+line+"\r\n") {
			t.Errorf("there is no %q in\n%s", line, got.raw)
		}
	}
	wantAnswer(t, g.verify("inside", otherExpired), http.StatusUnauthorized, policy.KeyExpired)
	wantAnswer(t, g.verify("inside", validSecret), http.StatusNoContent, policy.Allowed)
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the next handler ran: the backend got %q", sent)
	}
}

func TestR12_VerifyRefusesOnceTheKeyEnds(t *testing.T) {
	ends := map[string]struct {
		reason policy.Reason
		end    func(g *gateway, key policy.Key) error
	}{
		"revoked": {policy.KeyRevoked, func(g *gateway, key policy.Key) error {
			_, err := g.keys.RevokeKey(context.Background(), now(), operator, key.ID, "test")
			return err
		}},
		"deleted": {policy.KeyDeleted, func(g *gateway, key policy.Key) error {
			_, err := g.keys.DeleteKey(context.Background(), now(), operator, key.ID)
			return err
		}},
		"its account suspended": {policy.AccountSuspended, func(g *gateway, key policy.Key) error {
			_, err := g.keys.SuspendAccount(context.Background(), now(), operator, key.AccountID, "")
			return err
		}},
		"its account closed": {policy.AccountClosed, func(g *gateway, key policy.Key) error {
			_, err := g.keys.CloseAccount(context.Background(), now(), operator, key.AccountID)
			return err
		}},
	}
	for name, test := range ends {
		t.Run(name, func(t *testing.T) {
			g := newVerifier(t)
			key, secret := g.expired()
			g.recordJob("j", key, now().Add(-90*time.Minute))
			wantAnswer(t, g.verify("j", secret), http.StatusNoContent, policy.AllowedByGrace)
			if err := test.end(g, key); err != nil {
				t.Fatal(err)
			}
			wantAnswer(t, g.verify("j", ""), http.StatusUnauthorized, test.reason) // past the cache
			eventually(t, func() bool { return g.verify("j", secret).status == http.StatusUnauthorized })
			wantAnswer(t, g.verify("j", secret), http.StatusUnauthorized, test.reason)
		})
	}
}

func TestR11_VerifyKnowsWhoseTheJobIs(t *testing.T) {
	g := newVerifier(t)
	creator, _ := g.issue(keystore.NewKey{})
	_, colleague := g.issue(keystore.NewKey{})
	other := g.newAccount("Other")
	_, stranger := g.issue(keystore.NewKey{AccountID: other.ID})
	g.recordJob("j", creator, now())
	wantAnswer(t, g.verify("j", colleague), http.StatusNoContent, policy.Allowed)
	wantAnswer(t, g.verify("j", stranger), http.StatusNotFound, policy.JobForeign)
	wantAnswer(t, g.verify("k", ""), http.StatusNotFound, policy.JobUnknown)
	wantAnswer(t, g.verify("k", colleague), http.StatusNotFound, policy.JobUnknown)

	wantAnswer(t, g.request("GET /trial", "Speechgate-Job: j\r\n"), http.StatusNotFound, policy.JobUnknown) // of another backend
}

func TestVerify_AnswersOnlyCallers(t *testing.T) {
	g := newVerifier(t)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	withoutDate := func(got reply) string {
		_, date, _ := strings.Cut(got.raw, "\r\nDate: ")
		date, _, _ = strings.Cut(date, "\r\n")
		return strings.Replace(got.raw, date, "", 1) + "\r\n\r\n" + got.body
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "OPTIONS"} {
		for name, header := range map[string]string{
			"bare": "", "with a page's origin": "Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n",
			"with a body": "Content-Length: 0\r\n",
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				g.t = t
				ask := func(path string) reply {
					return g.request(method+path, header, "X-Forwarded-For: 198.51.100.1\r\n", "Speechgate-Job: j\r\n",
						"Authorization: Bearer "+secret+"\r\n")
				}
				got, unlisted := withoutDate(ask(" /verify")), withoutDate(ask(" /no-such-path"))
				if got != unlisted || !strings.HasPrefix(got, "HTTP/1.1 404 Not Found\r\n") {
					t.Errorf("got\n%s\nand for an unlisted path\n%s", got, unlisted)
				}
			})
		}
	}
	if !strings.Contains(g.log(), `"logger":"http.handlers.speechgate_verify","msg":"refused","reason":"operation_unlisted","operation":"unlisted","key_id":"","account_id":"","client_ip":"198.51.100.1"`) {
		t.Error("the refusal is not in the log")
	}
}

func TestVerify_AllowsNoCrossOriginRequests(t *testing.T) {
	g := newVerifier(t)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	for _, job := range []string{"j", "unknown"} {
		got := g.verify(job, secret, "Origin: https://app.example.com\r\n")
		if got.header.Get("Speechgate-Reason") == "" || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("of job %s: status %d, header %v", job, got.status, got.header)
		}
	}
}

// requestFrom sends a request from another address of this machine.
func (g *gateway) requestFrom(source, line string, headers ...string) reply {
	g.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := dialer.Dial("tcp", g.addr)
	if err != nil && os.Getenv("CI") == "" {
		g.t.Skipf("this machine has no address %s: %v", source, err)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(line + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\n" + strings.Join(headers, "") + "\r\n")); err != nil {
		g.t.Fatal(err)
	}
	return readReply(g.t, conn)
}

func TestR4_VerifyChecksTheAddressOfTheJobsClient(t *testing.T) {
	g := newVerifier(t)
	bound, secret := g.issue(keystore.NewKey{Allow: g.allow("203.0.113.7")})
	free, _ := g.issue(keystore.NewKey{})
	g.recordJobFrom("203.0.113.7", "from-its-own", bound)
	g.recordJobFrom("203.0.113.8", "from-another", bound)
	g.recordJobFrom("", "from-nowhere", bound)
	g.recordJobFrom("", "free-from-nowhere", free)

	for name, forged := range map[string]string{
		"asked as it is": "", "asked through a proxy": "X-Forwarded-For: 203.0.113.7\r\n",
		"with other headers": "X-Real-IP: 203.0.113.7\r\nForwarded: for=203.0.113.7\r\nTrue-Client-IP: 203.0.113.7\r\nSpeechgate-Client: 203.0.113.7\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			for _, key := range []string{"", secret} {
				wantAnswer(t, g.verify("from-its-own", key, forged), http.StatusNoContent, policy.Allowed)
				wantAnswer(t, g.verify("from-another", key, forged), http.StatusUnauthorized, policy.AddressRefused)
				wantAnswer(t, g.verify("from-nowhere", key, forged), http.StatusUnauthorized, policy.AddressUnknown)
			}
			wantAnswer(t, g.verify("free-from-nowhere", "", forged), http.StatusNoContent, policy.Allowed)
		})
	}
	if !strings.Contains(g.log(), `"client_ip":"203.0.113.8","backend":"amivoice","job_id":"from-another","caller":"127.0.0.1"`) {
		t.Error("the address of the client that created the job is not in the log")
	}

	t.Run("the address of a caller cannot be forged", func(t *testing.T) {
		g.t = t
		job := "Speechgate-Job: free-from-nowhere\r\n"
		wantAnswer(t, g.requestFrom("127.0.0.2", "GET /verify", job, "X-Forwarded-For: 198.51.100.1\r\n"), http.StatusNoContent, policy.Allowed)
		if got := g.requestFrom("127.0.0.3", "GET /verify", job, "X-Forwarded-For: 127.0.0.1\r\n"); got.status != http.StatusNotFound || got.body != `{}` {
			t.Errorf("from another than a caller: status %d, body %q", got.status, got.body)
		}
	})
}

func TestVerify_ReadsOneJobAndOneKey(t *testing.T) {
	g := newVerifier(t)
	key, secret := g.issue(keystore.NewKey{})
	_, other := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	job, bearer := "Speechgate-Job: j\r\n", "Authorization: Bearer "+secret+"\r\n"
	for name, test := range map[string]struct {
		headers string
		status  int
		reason  policy.Reason
	}{
		"no job":                        {bearer, 404, policy.JobUnknown},
		"an empty job":                  {"Speechgate-Job: \r\n" + bearer, 404, policy.JobUnknown},
		"two jobs":                      {job + "Speechgate-Job: k\r\n", 404, policy.JobUnknown},
		"the same job twice":            {job + job, 404, policy.JobUnknown},
		"a job that is a path":          {"Speechgate-Job: a/../j\r\n", 404, policy.JobUnknown},
		"a job that is too long":        {"Speechgate-Job: " + strings.Repeat("j", 129) + "\r\n", 404, policy.JobUnknown},
		"the same key twice":            {job + bearer + bearer, 204, policy.Allowed},
		"an empty key, which is none":   {job + "Authorization: Bearer \r\n", 204, policy.Allowed},
		"two keys":                      {job + bearer + "Authorization: Bearer " + other + "\r\n", 401, policy.CredentialAmbiguous},
		"a key with a space":            {job + "Authorization: Bearer a b\r\n", 401, policy.CredentialMalformed},
		"a mistyped key":                {job + "Authorization: Bearer " + secret[:len(secret)-1] + "\r\n", 401, policy.CredentialMalformed},
		"a password":                    {job + "Authorization: Basic dXNlcjpwYXNz\r\n", 401, policy.CredentialMalformed},
		"an unknown key":                {job + "Authorization: Bearer unknown\r\n", 401, policy.KeyUnknown},
		"the backend's key":             {job + "Authorization: Bearer " + backendKey + "\r\n", 401, policy.KeyUnknown},
		"a key that the query also has": {job + bearer + "Speechgate-Key-ID: key_forged\r\n", 204, policy.Allowed},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			got := g.request("GET /verify?u=from-the-query", test.headers)
			wantAnswer(t, got, test.status, test.reason)
			if test.status == 204 && got.header.Get("Speechgate-Key-Id") != key.ID {
				t.Errorf("names key %q, want %q", got.header.Get("Speechgate-Key-Id"), key.ID)
			}
			if challenge := got.header.Get("WWW-Authenticate"); (challenge == "Bearer") != (test.status == 401) {
				t.Errorf("challenges with %q", challenge)
			}
		})
	}
	g.t = t
	if log := g.log(); !strings.Contains(log, "want one Speechgate-Job header that is a job's ID") || strings.Contains(log, secret) {
		t.Error("the log does not say what is wrong, or shows a key")
	}
}

func TestVerify_AnswersGETAndPOST(t *testing.T) {
	g := newVerifier(t)
	key, _ := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	const job = "Speechgate-Job: j\r\n"
	wantAnswer(t, g.request("POST /verify", job), http.StatusNoContent, policy.Allowed)
	wantAnswer(t, g.send("POST /verify HTTP/1.1\r\nHost: "+g.addr+"\r\nConnection: close\r\n"+job+
		"Content-Type: multipart/form-data\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nbody"), http.StatusNoContent, policy.Allowed)
	for _, method := range []string{"HEAD", "PUT", "DELETE", "OPTIONS", "get"} {
		got := g.request(method+" /verify", job)
		if method == "HEAD" && got.body == "" {
			got.body = `{"reason":"operation_unlisted"}`
		}
		wantAnswer(t, got, http.StatusMethodNotAllowed, policy.OperationUnlisted)
		if got.header.Get("Allow") != "GET, POST" {
			t.Errorf("%s: Allow is %q", method, got.header.Get("Allow"))
		}
	}
}
