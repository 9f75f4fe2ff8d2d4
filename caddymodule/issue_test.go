package caddymodule_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// issuer is a gateway with the issuance API, and credentials for the API.
type issuer struct {
	*gateway

	sid, spw string
	key      policy.Key // with the issuance right
	secret   string
}

const aPassword = "p@ss w&rd"

func newIssuer(t *testing.T, options string) *issuer {
	t.Helper()
	return newIssuerAt(t, options, "")
}

// newIssuerAt is newIssuer with the keystore at this place. If the place is empty, it chooses one.
func newIssuerAt(t *testing.T, options string, place storetest.Place) *issuer {
	t.Helper()
	i := &issuer{gateway: newGatewayWith(t, &gateway{place: place, site: "speechgate_issue {\n" + options + "\n}\n" + defaultSite})}
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

// issued returns the record of the key in an answer, which must be a key.
func (i *issuer) issued(got reply) policy.Key {
	i.t.Helper()
	if got.status != http.StatusOK || !regexp.MustCompile(`^sgk_[0-9A-Za-z]{38}$`).MatchString(got.body) {
		i.t.Fatalf("status %d, %q: want a key and nothing else", got.status, got.body)
	}
	record, err := i.keys.FindKey(i.t.Context(), policy.NewSecret(got.body))
	if err != nil {
		i.t.Fatal(err)
	}
	return record.Key()
}

// count returns the number of keys.
func (i *issuer) count() int {
	i.t.Helper()
	keys, _, err := i.keys.Keys(i.t.Context(), keystore.KeyList{})
	if err != nil {
		i.t.Fatal(err)
	}
	return len(keys)
}

// refused checks that a call was refused with this status and text, and that no key was issued.
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
	if got.header.Get("X-Content-Type-Options") != "nosniff" {
		i.t.Errorf("%s: header %v: a browser may read the text as HTML", name, got.header)
	}
}

func TestIssue_AnswersWithTheBareKey(t *testing.T) {
	i := newIssuer(t, "")
	for name, got := range map[string]reply{
		// As the JavaScript client of AmiVoice sends it.
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
			for _, name := range []string{"Retry-After", "WWW-Authenticate", "Allow"} {
				if len(got.header.Values(name)) > 0 {
					t.Errorf("a key comes with the header %s: %s", name, got.header.Get(name))
				}
			}
			at, _ := key.Expires.Time()
			if key.AccountID != i.account.ID || key.Origin != policy.OriginAPI || key.Issuable || at != key.CreatedAt.Add(time.Minute) || !key.Allow.Any() {
				t.Errorf("the key is %+v", key)
			}
			// The gate accepts the key at once.
			if got := i.send(i.form("/v1/recognize", [2]string{"u", got.body}, [2]string{"a", "RIFF"})); !strings.Contains(got.body, "hello") {
				t.Errorf("recognition answers %q", got.body)
			}
		})
	}
	if got := i.backend.received(); strings.Contains(got, "issue_service") || !strings.Contains(got, "/v1/recognize") {
		t.Errorf("the backend got %q, want recognitions and no call", got)
	}
	// Without epi, the key lives for 30 seconds.
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
	client := 0 // each from an address of its own, or they would be throttled
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
		"SQL in the sid":               {"sid=vendor-sid'OR'1'='1&spw=p%40ss%20w%26rd", "", 401, notValid},
		"a space in the sid":           {"sid=vendor-sid+&spw=p%40ss%20w%26rd", "", 400, "The field sid has a space"},
		"a line break behind the sid":  {"sid=vendor-sid%0A&spw=p%40ss%20w%26rd", "", 400, "The field sid has a space, a line break"},
		"a line break behind the spw":  {"sid=vendor-sid&spw=p%40ss%20w%26rd%0D%0A", "", 400, "The field spw has a line break"},
		"a space before the spw":       {"sid=vendor-sid&spw=+sgs_of-somebody", "", 400, "The field spw has a space"},
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
		"other letters of field names": {"SID=vendor-sid&SPW=p%40ss%20w%26rd", "", 400, `The form has a field "SID", which the API does not know: did you mean sid?`},
		"a colon for the equals sign":  {"sid=vendor-sid&spw:p%40ss%20w%26rd", "", 400, `The form has a field "spw:…", which the API does not know: did you mean spw?`},
		"a broken escape":              {"sid=vendor-sid&spw=%zz", "", 400, "is no form"},
		"a semicolon":                  {"sid=vendor-sid;spw=p%40ss%20w%26rd", "", 400, "is no form"},
	} {
		client++
		got := i.call(tt.body, tt.headers, fmt.Sprintf("X-Forwarded-For: 198.51.100.%d\r\n", client))
		i.refused(name, before, got, tt.status, tt.text)
		if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (got.status == 401) {
			t.Errorf("%s: status %d, WWW-Authenticate %q", name, got.status, challenge)
		}
	}
	if got := i.call("", bearerLine(bound), "X-Forwarded-For: 203.0.113.9\r\n"); got.status != 200 {
		t.Errorf("from its own address a key issues %d %q", got.status, got.body)
	}

	// All answers to guessed credentials are the same, byte for byte.
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
	// After a body that has been read, the connection stays open for the next call.
	if got := i.send(head + form + "Content-Length: 9\r\n\r\nepi=60000"); got.header.Get("Connection") == "close" || got.status != 200 {
		t.Errorf("%d, Connection %q", got.status, got.header.Get("Connection"))
	}
}

// A suspended account gets no keys, with its service password or with a key, and gets them
// again after it is resumed. After a rotation with an overlap both service passwords work.
func TestR8_SuspensionAndOverlapAtTheIssuanceAPI(t *testing.T) {
	i := newIssuer(t, "")
	account, password, err := i.keys.CreateAccount(t.Context(), now(), operator, "Suspended")
	if err != nil {
		t.Fatal(err)
	}
	_, key := i.issue(keystore.NewKey{AccountID: account.ID, Issuable: true})
	rotated, second, err := i.keys.RotateAccount(t.Context(), now(), operator, account.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() reply{
		"the old service password": func() reply { return i.call("sid=" + account.ServiceID + "&spw=" + password.Reveal()) },
		"the new service password": func() reply { return i.call("sid=" + rotated.ServiceID + "&spw=" + second.Reveal()) },
		"a key":                    func() reply { return i.call("", bearerLine(key)) },
	}
	for name, call := range calls {
		if got := call(); got.status != 200 {
			t.Errorf("%s issues %d %q", name, got.status, got.body)
		}
	}
	if _, err := i.keys.SuspendAccount(t.Context(), now(), operator, account.ID, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return calls["a key"]().status == 401 })
	refused := strings.Count(i.log(), `"reason":"account_suspended"`)
	for name, call := range calls {
		refused++
		if got := call(); got.status != 401 || !strings.Contains(got.body, "credentials are not valid") {
			t.Errorf("while the account is suspended, %s issues %d %q", name, got.status, got.body)
		}
		eventually(t, func() bool { return strings.Count(i.log(), `"reason":"account_suspended"`) >= refused })
	}
	if _, err := i.keys.ResumeAccount(t.Context(), now(), operator, account.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return calls["a key"]().status == 200 })
	if _, _, err := i.keys.RotateAccount(t.Context(), now(), operator, account.ID, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"the old service password", "the new service password"} {
		if got := calls[name](); got.status != 401 {
			t.Errorf("after the next rotation, %s issues %d %q", name, got.status, got.body)
		}
	}
}
