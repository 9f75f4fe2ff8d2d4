package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/issuance"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// issuer is a gateway with the issuance API, and credentials for it.
type issuer struct {
	*gateway

	sid, spw string
	key      policy.Key // with the issuance right
	secret   string
}

const aPassword = "p@ss w&rd"

func newIssuer(t *testing.T, options string) *issuer {
	t.Helper()
	i := &issuer{gateway: newGatewayWith(t, &gateway{site: "speechgate_issue {\n" + options + "\n}\n" + defaultSite})}
	account, err := i.keys.ImportAccount(t.Context(), now(), operator, "Issuer", "vendor-sid", policy.NewSecret(aPassword))
	if err != nil {
		t.Fatal(err)
	}
	i.account, i.sid, i.spw = account, account.ServiceID, aPassword
	i.key, i.secret = i.issue(keystore.NewKey{Issuable: true})
	return i
}

// call sends a form, with these header lines.
func (i *issuer) call(body string, headers ...string) reply {
	i.t.Helper()
	return i.send("POST /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n" + strings.Join(headers, "") + "\r\n" + body)
}

func (i *issuer) byService(fields string) reply {
	i.t.Helper()
	return i.call("sid=" + url.QueryEscape(i.sid) + "&spw=" + url.QueryEscape(i.spw) + fields)
}

func (i *issuer) byKey(fields string, headers ...string) reply {
	i.t.Helper()
	return i.call(strings.TrimPrefix(fields, "&"), append(headers, bearerLine(i.secret))...)
}

func bearerLine(key string) string { return "Authorization: Bearer " + key + "\r\n" }

// issued returns the record of the key in an answer, which must be one.
func (i *issuer) issued(got reply) policy.Key {
	i.t.Helper()
	if got.status != http.StatusOK || !regexp.MustCompile(`^sgk_[0-9A-Za-z]{38}$`).MatchString(got.body) {
		i.t.Fatalf("status %d, %q: want a key and nothing else", got.status, got.body)
	}
	record, err := i.keys.FindKey(i.t.Context(), policy.NewSecret(got.body))
	if err != nil {
		i.t.Fatal(err)
	}
	return record.Key
}

// count is how many keys there are.
func (i *issuer) count() int {
	i.t.Helper()
	keys, err := i.keys.Keys(i.t.Context(), "")
	if err != nil {
		i.t.Fatal(err)
	}
	return len(keys)
}

// refused checks that a call was refused with this status and text, and that no
// key was made.
func (i *issuer) refused(name string, before int, got reply, status int, text string) {
	i.t.Helper()
	if got.status != status || !strings.Contains(got.body, text) {
		i.t.Errorf("%s: %d %q, want %d with %q", name, got.status, got.body, status, text)
	}
	if i.count() != before {
		i.t.Fatalf("%s: a key was made", name)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "text/plain" || strings.Count(got.body, "\n") != 1 {
		i.t.Errorf("%s: header %v, body %q: want a line of plain text that no one stores", name, got.header, got.body)
	}
}

func TestIssue_AnswersWithTheBareKey(t *testing.T) {
	i := newIssuer(t, "")
	for name, got := range map[string]reply{
		// As the vendor's JavaScript client spells it.
		"service ID and password": i.call("sid=vendor-sid&spw=p%40ss%20w%26rd&epi=60000"),
		"key":                     i.byKey("epi=60000"),
		"with a plus for a space": i.call("sid=vendor-sid&spw=p%40ss+w%26rd&epi=60000"),
		"other fields":            i.call("sid=vendor-sid&spw=p%40ss%20w%26rd&epi=60000&account_id=acc_other&issuable=1&x=1&x=2"),
		"charset": i.send("POST /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(i.secret) +
			"Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nepi=60000\r\n0\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			key := i.issued(got)
			if got.header.Get("Content-Type") != "text/plain" || got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Length") != "42" {
				t.Errorf("header %v", got.header)
			}
			at, _ := key.Expires.Time()
			if key.AccountID != i.account.ID || key.Origin != policy.OriginAPI || key.Issuable || at != key.CreatedAt.Add(time.Minute) || !key.Allow.Any() {
				t.Errorf("the key is %+v", key)
			}
			// It is good at once, through the gate.
			if got := i.send(i.form("/v1/recognize", [2]string{"u", got.body}, [2]string{"a", "RIFF"})); !strings.Contains(got.body, "hello") {
				t.Errorf("recognition answers %q", got.body)
			}
		})
	}
	if i.backend.received(); strings.Contains(i.backend.received(), "issue_service") {
		t.Error("a call reached the backend")
	}
	// With nothing asked and nothing sent, it lives for 30 seconds.
	key := i.issued(i.send("POST /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\nContent-Length: 0\r\n" + bearerLine(i.secret) + "\r\n"))
	if at, _ := key.Expires.Time(); at != key.CreatedAt.Add(30*time.Second) {
		t.Errorf("by default it lives until %s, from %s", at, key.CreatedAt)
	}
}

func TestIssue_RefusesCredentials(t *testing.T) {
	i := newIssuer(t, "")
	_, plain := i.issue(keystore.NewKey{})
	_, bound := i.issue(keystore.NewKey{Issuable: true, Allow: i.allow("203.0.113.0/24")})
	_, old := i.issueAt(now().Add(-2*time.Hour), keystore.NewKey{Issuable: true, Expires: policy.ExpiresAt(now().Add(-time.Hour))})
	gone, revoked := i.issue(keystore.NewKey{Issuable: true})
	if _, err := i.keys.RevokeKey(t.Context(), now(), operator, gone.ID, ""); err != nil {
		t.Fatal(err)
	}
	thrown, deleted := i.issue(keystore.NewKey{Issuable: true})
	if _, err := i.keys.DeleteKey(t.Context(), now(), operator, thrown.ID); err != nil {
		t.Fatal(err)
	}
	closed, closedPassword, err := i.keys.CreateAccount(t.Context(), now(), operator, "Closed")
	if err != nil {
		t.Fatal(err)
	}
	_, closedKey := i.issue(keystore.NewKey{AccountID: closed.ID, Issuable: true})
	if _, err := i.keys.CloseAccount(t.Context(), now(), operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	child := i.byKey("epi=1h").body
	before := i.count()
	const notValid, missing = "credentials are not valid", "Credentials are missing"
	for name, tt := range map[string]struct {
		body, headers string
		status        int
		text          string
	}{
		"none":                         {"epi=60000", "", 401, missing},
		"sid alone":                    {"sid=vendor-sid", "", 401, missing},
		"spw alone":                    {"spw=p%40ss%20w%26rd", "", 401, missing},
		"empty ones":                   {"sid=&spw=", "Authorization: Bearer \r\n", 401, missing},
		"wrong spw":                    {"sid=vendor-sid&spw=wrong-password", "", 401, notValid},
		"unknown sid":                  {"sid=nobody&spw=p%40ss%20w%26rd", "", 401, notValid},
		"spw encoded once too often":   {"sid=vendor-sid&spw=p%2540ss%2520w%2526rd", "", 401, notValid},
		"SQL in the sid":               {"sid=vendor-sid'%20OR%20'1'='1&spw=p%40ss%20w%26rd", "", 401, notValid},
		"both":                         {"sid=vendor-sid&spw=p%40ss%20w%26rd", bearerLine(i.secret), 400, "two credentials"},
		"both, one of them in part":    {"sid=vendor-sid", bearerLine(i.secret), 400, "two credentials"},
		"two headers that differ":      {"", bearerLine(i.secret) + bearerLine(plain), 400, "two Authorization headers"},
		"a key without the right":      {"", bearerLine(plain), 403, "may not issue keys"},
		"a child of the issuance API":  {"", bearerLine(child), 403, "may not issue keys"},
		"a key from another address":   {"", bearerLine(bound), 401, notValid},
		"an expired key":               {"", bearerLine(old), 401, notValid},
		"a revoked key":                {"", bearerLine(revoked), 401, notValid},
		"a deleted key":                {"", bearerLine(deleted), 401, notValid},
		"a key of a closed account":    {"", bearerLine(closedKey), 401, notValid},
		"an unknown key":               {"", bearerLine("nobodys-key"), 401, notValid},
		"a mistyped key":               {"", bearerLine(i.secret[:41] + "_"), 401, notValid},
		"a key and some":               {"", bearerLine(i.secret + " x"), 401, notValid},
		"another scheme":               {"", "Authorization: Basic dmVuZG9yLXNpZDpwQHNzIHcmcmQ=\r\n", 401, notValid},
		"a key in place of spw":        {"sid=vendor-sid&spw=" + i.secret, "", 401, notValid},
		"a closed account":             {"sid=" + closed.ServiceID + "&spw=" + closedPassword.Reveal(), "", 401, notValid},
		"the account ID in sid":        {"sid=" + i.account.ID + "&spw=p%40ss%20w%26rd", "", 401, notValid},
		"sid twice":                    {"sid=vendor-sid&sid=vendor-sid&spw=p%40ss%20w%26rd", "", 400, "The field sid is given twice"},
		"spw twice":                    {"sid=vendor-sid&spw=x&spw=p%40ss%20w%26rd", "", 400, "The field spw is given twice"},
		"epi twice":                    {"epi=1s&epi=1w", bearerLine(i.secret), 400, "The field epi is given twice"},
		"ipa twice":                    {"ipa=&ipa=192.0.2.1", bearerLine(i.secret), 400, "The field ipa is given twice"},
		"other letters of field names": {"SID=vendor-sid&SPW=p%40ss%20w%26rd", "", 401, missing},
		"a broken escape":              {"sid=vendor-sid&spw=%zz", "", 400, "is no form"},
		"a semicolon":                  {"sid=vendor-sid;spw=p%40ss%20w%26rd", "", 400, "is no form"},
	} {
		got := i.call(tt.body, tt.headers, "X-Forwarded-For: 198.51.100."+fmt.Sprint(len(name))+"\r\n")
		i.refused(name, before, got, tt.status, tt.text)
		if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (got.status == 401) {
			t.Errorf("%s: status %d, WWW-Authenticate %q", name, got.status, challenge)
		}
	}
	if got := i.call("", bearerLine(bound), "X-Forwarded-For: 203.0.113.9\r\n"); got.status != 200 {
		t.Errorf("from its own address a key issues %d %q", got.status, got.body)
	}

	// The answers to what may be guessed are one, to the byte.
	same := []reply{
		i.call("sid=vendor-sid&spw=wrong-password"), i.call("sid=nobody&spw=wrong-password"),
		i.call("sid=" + closed.ServiceID + "&spw=" + closedPassword.Reveal()), i.call("", bearerLine("nobodys-key")), i.call("", bearerLine(revoked)),
	}
	for _, got := range same[1:] {
		if withoutDate(got) != withoutDate(same[0]) {
			t.Errorf("answers differ:\n%s\n%s", got.raw, same[0].raw)
		}
	}
}

func withoutDate(r reply) string {
	return regexp.MustCompile(`Date: [^\r]*`).ReplaceAllString(r.raw, "") + r.body
}

func TestIssue_OwnsItsPath(t *testing.T) {
	i := newIssuer(t, "")
	before := i.count()
	form := "sid=vendor-sid&spw=p%40ss%20w%26rd"
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "post"} {
		got := i.send(method + " /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(i.secret) +
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " + fmt.Sprint(len(form)) + "\r\n\r\n" + form)
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "POST" || i.count() != before {
			t.Errorf("%s: %d %v", method, got.status, got.header)
		}
	}
	for _, query := range []string{"?sid=vendor-sid&spw=p%40ss%20w%26rd", "?epi=1w", "?u=" + i.secret, "?x", "?%zz"} {
		got := i.send("POST /issue_service_authorization" + query + " HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(i.secret) +
			"Content-Length: 0\r\n\r\n")
		i.refused(query, before, got, 400, "query")
	}
	for _, path := range []string{
		"/issue_service_authorization/", "//issue_service_authorization", "/issue_service_authorizatio%6e", "/./issue_service_authorization",
		"/Issue_service_authorization", "/issue_service_authorization;x", "/issue_service_authorization%00", "/x/../issue_service_authorization",
	} {
		got := i.send("POST " + path + " HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(i.secret) + "Content-Length: 0\r\n\r\n")
		if got.status == http.StatusOK || i.count() != before {
			t.Errorf("%s: %d %q", path, got.status, got.body)
		}
	}
	if got := i.backend.received(); got != "" {
		t.Errorf("the backend got %q", got)
	}
}

func TestIssue_BoundsTheBody(t *testing.T) {
	i := newIssuer(t, "")
	before := i.count()
	head := "POST /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\n" + bearerLine(i.secret)
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	large := "x=" + strings.Repeat("a", 16<<10-2)
	i.issued(i.call(large, bearerLine(i.secret)))
	before++
	i.refused("by length", before, i.call(large+"a", bearerLine(i.secret)), 413, "16 KiB")
	i.refused("chunked", before, i.send(head+form+"Transfer-Encoding: chunked\r\n\r\n"+fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(large)+1, large+"a")), 413, "16 KiB")
	i.refused("announced, and never sent", before, i.send(head+form+"Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"), 413, "16 KiB")
	for name, header := range map[string]string{
		"JSON": "Content-Type: application/json\r\n", "none": "", "two": form + form, "multipart": "Content-Type: multipart/form-data; boundary=x\r\n",
		"compressed": form + "Content-Encoding: gzip\r\n", "nonsense": "Content-Type: ;\r\n",
	} {
		i.refused(name, before, i.send(head+header+"Content-Length: 9\r\n\r\nepi=60000"), 415, "application/x-www-form-urlencoded")
	}
	// A body that is read leaves the connection open for the next call.
	if got := i.send(head + form + "Content-Length: 9\r\n\r\nepi=60000"); got.header.Get("Connection") == "close" || got.status != 200 {
		t.Errorf("%d, Connection %q", got.status, got.header.Get("Connection"))
	}
}

func TestIssue_NamesWhatIsWrong(t *testing.T) {
	i := newIssuer(t, "max_lifetime 1h")
	before := i.count()
	for fields, want := range map[string]string{
		"&epi=1h30m":                             `epi "1h30m": `,
		"&epi=-5":                                `epi "-5": `,
		"&epi=2031/02/30":                        `epi "2031/02/30": `,
		"&epi=2020-01-01":                        `epi "2020-01-01": `,
		"&epi=3600001":                           `epi "3600001": is beyond the longest`,
		"&epi=2031/02/03%2010:00:00+09:00":       "%2B",
		"&ipa=192.0.2.1/24":                      "want 192.0.2.0/24",
		"&ipa=0.0.0.0":                           "leave the list empty",
		"&ipa=192.0.2.9-192.0.2.1":               "want 192.0.2.1-192.0.2.9",
		"&ipa=192.0.2.1,,192.0.2.2":              "a comma too many",
		"&ipa=example.com":                       `"example.com"`,
		"&ipa=fe80::1%25eth0":                    "zone",
		"&epi=" + url.QueryEscape(aPassword):     "holds a credential",
		"&ipa=" + policyKey(t):                   "holds a credential",
		"&epi=%3Cscript%3Ealert(1)%3C/script%3E": "epi ",
	} {
		got := i.byService(fields)
		i.refused(fields, before, got, 400, want)
		if strings.Contains(got.body, aPassword) || policy.HoldsSecret(got.body) {
			t.Errorf("%s: the text holds a secret: %q", fields, got.body)
		}
		if got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may take %q for a page", fields, got.body)
		}
	}
	key := i.issued(i.byService("&epi=3600000&ipa=192.0.2.0/24%20198.51.100.1,2001:db8::/32,%20203.0.113.5-203.0.113.9"))
	if want := "192.0.2.0/24,198.51.100.1,2001:db8::/32,203.0.113.5-203.0.113.9"; key.Allow.String() != want {
		t.Errorf("allowed from %s, want %s", key.Allow, want)
	}
	if key := i.issued(i.byService("&epi=&ipa=%20")); !key.Allow.Any() {
		t.Errorf("allowed from %s", key.Allow)
	}
}

func policyKey(t *testing.T) string {
	t.Helper()
	secret, err := policy.GenerateSecret(policy.KeyPrefix, strings.NewReader(strings.Repeat("x", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

func TestIssue_Children(t *testing.T) {
	for _, mode := range []string{"", "children narrow", "children free"} {
		t.Run(mode, func(t *testing.T) {
			i := newIssuer(t, mode)
			end := policy.ExpiresAt(now().Add(time.Hour))
			parent, secret := i.issue(keystore.NewKey{Issuable: true, Expires: end, Allow: i.allow("127.0.0.0/8")})
			before := i.count()
			by := func(fields string) reply { return i.call(fields, bearerLine(secret)) }
			free := mode == "children free"
			for fields, want := range map[string]string{
				"epi=2h": "would outlive the key that issues it", "ipa=192.0.2.1": "it would be good from 192.0.2.1",
				"ipa=127.0.0.1,192.0.2.0/24": "it would be good from 192.0.2.0/24", "ipa=::/0": "it would be good from ::/0",
			} {
				got := by(fields)
				if !free {
					i.refused(fields, before, got, 403, want)
				} else if key := i.issued(got); key.Issuable {
					t.Errorf("%s: a child may issue keys", fields)
				}
			}
			child := i.issued(by("epi=1m&ipa=127.0.0.1"))
			if child.IssuerID != parent.ID || child.Origin != policy.OriginAPI || child.Issuable || child.Allow.String() != "127.0.0.1" {
				t.Errorf("the child is %+v", child)
			}
			want := "127.0.0.0/8" // inherited where nothing is asked
			if free {
				want = "any"
			}
			if key := i.issued(by("")); key.Allow.String() != want {
				t.Errorf("without ipa it is good from %s, want %s", key.Allow, want)
			}

			// The default lifetime gives way to the issuer's end.
			brief := policy.ExpiresAt(now().Add(20 * time.Second))
			_, secret = i.issue(keystore.NewKey{Issuable: true, Expires: brief})
			if key := i.issued(by("")); (key.Expires == brief) == free {
				t.Errorf("without epi it lives until %s, its issuer until %s", key.Expires, brief)
			}
			// Service ID and password bind nobody.
			if key := i.issued(i.byService("&epi=52w&ipa=192.0.2.1")); key.IssuerID != "" {
				t.Errorf("issuer %q", key.IssuerID)
			}
		})
	}
}

func TestIssue_ChildrenEndWithTheirTree(t *testing.T) {
	i := newIssuer(t, "")
	child := i.byKey("epi=1h").body
	recognizes := func() bool {
		return strings.Contains(i.send(i.form("/v1/recognize", [2]string{"u", child}, [2]string{"a", "RIFF"})).body, "hello")
	}
	if _, err := i.keys.RevokeKey(t.Context(), now(), operator, i.key.ID, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return i.byKey("epi=1h").status == 401 })
	if !recognizes() {
		t.Error("the child ended with its issuer, though nobody asked for it")
	}
	if _, n, err := i.keys.RevokeTree(t.Context(), now(), operator, i.key.ID, ""); err != nil || n != 1 {
		t.Fatalf("%d children, %v", n, err)
	}
	eventually(t, func() bool { return !recognizes() })
}

func TestIssue_ThrottlesFailingCallsOnly(t *testing.T) {
	i := newIssuer(t, "")
	from := func(addr string) string { return "X-Forwarded-For: " + addr + "\r\n" }
	wrong := func(addr string) reply { return i.call("sid=vendor-sid&spw=wrong-password", from(addr)) }
	for n := range 30 {
		if got := wrong("198.51.100.1"); got.status != 401 {
			t.Fatalf("failing call %d: status %d", n+1, got.status)
		}
	}
	for range 3 {
		got := wrong("198.51.100.1")
		var wait int
		if _, err := fmt.Sscan(got.header.Get("Retry-After"), &wait); err != nil || got.status != 429 || wait < 1 || wait > 60 {
			t.Fatalf("%d, Retry-After %q", got.status, got.header.Get("Retry-After"))
		}
	}
	for name, got := range map[string]reply{
		"another address": wrong("198.51.100.2"), "an IPv6 address": wrong("2001:db8::1"),
	} {
		if got.status != 401 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	for range 29 {
		wrong("2001:db8::2") // of the same /64
	}
	if a, b := wrong("2001:db8::ffff").status, wrong("2001:db8:0:1::1").status; a != 429 || b != 401 {
		t.Errorf("in the same /64 %d, in the next %d", a, b)
	}
	// Right credentials are answered, whoever has failed from there, and so are
	// the mistakes of those who have them.
	i.issued(i.call("sid=vendor-sid&spw=p%40ss%20w%26rd", from("198.51.100.1")))
	i.issued(i.byKey("", from("198.51.100.1")))
	if got := i.byKey("epi=0", from("198.51.100.1")); got.status != 400 {
		t.Errorf("a known caller's mistake: %d", got.status)
	}
	// The gate throttles nobody.
	_, good := i.issue(keystore.NewKey{})
	if got := i.send(strings.Replace(i.form("/v1/recognize", [2]string{"u", good}, [2]string{"a", "RIFF"}), "Connection", "X-Forwarded-For: 198.51.100.1\r\nConnection", 1)); !strings.Contains(got.body, "hello") {
		t.Errorf("the gate answers %q", got.body)
	}
}

func TestIssue_CORS(t *testing.T) {
	preflight := func(i *issuer, method string) reply {
		return i.send("OPTIONS /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\nOrigin: https://app.example.com\r\n" +
			"Access-Control-Request-Method: " + method + "\r\nAccess-Control-Request-Headers: authorization\r\n\r\n")
	}
	for options, allowed := range map[string]string{
		"": "*", "cors https://app.example.com": "https://app.example.com", "cors https://b.example": "", "cors off": "",
	} {
		t.Run(options, func(t *testing.T) {
			i := newIssuer(t, options)
			got := preflight(i, "POST")
			want := 405
			if allowed != "" {
				want = 204
				if h := got.header; h.Get("Access-Control-Allow-Methods") != "POST" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
					t.Errorf("header %v", h)
				}
			}
			if got.status != want || got.header.Get("Access-Control-Allow-Origin") != allowed {
				t.Errorf("preflight: %d %v", got.status, got.header)
			}
			for _, got := range []reply{i.byKey("", "Origin: https://app.example.com\r\n"), i.call("", "Origin: https://app.example.com\r\n")} {
				if got.header.Get("Access-Control-Allow-Origin") != allowed {
					t.Errorf("%d is readable by %q, want %q", got.status, got.header.Get("Access-Control-Allow-Origin"), allowed)
				}
			}
			if got := preflight(i, "DELETE"); got.status != 405 {
				t.Errorf("leave for DELETE: %d", got.status)
			}
		})
	}
}

func TestIssue_TellsNoSecrets(t *testing.T) {
	i := newIssuer(t, "")
	_, plain := i.issue(keystore.NewKey{})
	secrets := []string{aPassword, url.QueryEscape(aPassword), "p%40ss%20w%26rd", i.secret, plain}
	calls := []reply{
		i.byService("&epi=60000"), i.byKey(""), i.call("", bearerLine(plain)), i.byService("&epi=" + plain), i.byService("&ipa=" + plain),
		i.call("sid=" + i.secret + "&spw=" + url.QueryEscape(aPassword)),
		i.send("POST /issue_service_authorization?sid=vendor-sid&spw=p%40ss%20w%26rd HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
	}
	for n, got := range calls {
		if got.status == 200 {
			secrets = append(secrets, got.body)
		} else if slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(got.raw+got.body, s) }) {
			t.Errorf("answer %d tells a secret: %q", n, got.body)
		}
	}
	log := i.log()
	audit, err := i.keys.Audit(t.Context(), "", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q", secret)
		}
		if strings.Contains(fmt.Sprint(audit), secret) {
			t.Errorf("the audit trail has %q", secret)
		}
	}
	for _, want := range []string{`"reason":"allowed"`, `"operation":"issue_key"`, `"reason":"no_issuance_right"`, `"issued_key_id":"key_`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

func TestIssue_AuditTrailSaysWho(t *testing.T) {
	i := newIssuer(t, "")
	before := i.count()
	one := i.issued(i.call("sid=vendor-sid&spw=p%40ss%20w%26rd", "X-Forwarded-For: 198.51.100.7\r\n"))
	two := i.issued(i.byKey("", "X-Forwarded-For: 2001:db8::7\r\n"))
	i.byKey("epi=0")
	if i.count() != before+2 {
		t.Fatal("not two keys")
	}
	entries, err := i.keys.Audit(t.Context(), i.account.ID, 0, 2)
	if err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	for n, want := range []struct {
		who     keystore.Actor
		subject string
	}{
		{keystore.Actor{Kind: keystore.ActorKey, ID: i.key.ID}, two.ID},
		{keystore.Actor{Kind: keystore.ActorAccount, ID: i.account.ID}, one.ID},
	} {
		got := entries[n]
		from := []string{"2001:db8::7", "198.51.100.7"}[n]
		if got.Action != "key_issue" || got.Subject != want.subject || got.Actor.Kind != want.who.Kind || got.Actor.ID != want.who.ID || got.Actor.From.String() != from {
			t.Errorf("entry %+v, want %+v from %s on %s", got, want.who, from, want.subject)
		}
	}
	if check, err := i.keys.VerifyAudit(context.Background(), nil); err != nil || check.Fault != "" {
		t.Errorf("the trail: %+v, %v", check, err)
	}
}

func TestIssue_RefusesEarlyData(t *testing.T) {
	i := newIssuer(t, "")
	before := i.count()
	app := &App{}
	app.store = sharedStoreOf(t, i.path)
	module := &Issue{Path: issuePath, api: issuance.New(issuance.Settings{DefaultLifetime: time.Minute, Zone: time.UTC}), app: app, logger: zap.NewNop()}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, issuePath, nil)
	r.Header.Set("Authorization", "Bearer "+i.secret)
	r.TLS = &tls.ConnectionState{HandshakeComplete: false}
	w := httptest.NewRecorder()
	if err := module.ServeHTTP(w, r, caddyhttp.HandlerFunc(nil)); err != nil || w.Code != http.StatusTooEarly {
		t.Errorf("%d %q, %v", w.Code, w.Body, err)
	}
	if i.count() != before {
		t.Error("a key was made")
	}
}

// sharedStoreOf holds a store that is open for the test.
func sharedStoreOf(t *testing.T, path string) *sharedStore {
	t.Helper()
	s := &sharedStore{cfg: keystore.Config{Path: path, Clock: now}}
	if _, err := s.get(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.drain(0, 0) })
	return s
}

func TestIssue_StoreFault(t *testing.T) {
	i := newIssuer(t, "")
	// Not a keystore, put in its place as one is.
	if err := os.WriteFile(i.path+".new", []byte("not a keystore"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(i.path+".new", i.path); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		got := i.byKey("")
		return got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") != "" && strings.Contains(got.body, "at the moment")
	})
	if got := i.byService(""); got.status != http.StatusServiceUnavailable {
		t.Errorf("by service: %d", got.status)
	}
}
