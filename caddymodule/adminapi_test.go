package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// adminClient calls the admin API of a gateway.
type adminClient struct {
	*testing.T

	header http.Header // of each request
}

func newAdminClient(t *testing.T) *adminClient {
	t.Helper()
	return &adminClient{t, make(http.Header)}
}

func (c *adminClient) ask(method, target, body string) *httptest.ResponseRecorder {
	c.Helper()
	r := httptest.NewRequestWithContext(c.Context(), method, "/speechgate/"+target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.9:1234"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, c.header)
	return answerOfAdmin(c.T, r)
}

// object returns the object in the answer to a request, which must have this status.
func (c *adminClient) object(status int, method, target, body string) (object map[string]any) {
	c.Helper()
	w := c.ask(method, target, body)
	if err := json.Unmarshal(w.Body.Bytes(), &object); err != nil || w.Code != status {
		c.Fatalf("%s %s: status %d, want %d: %s", method, target, w.Code, status, w.Body)
	}
	return object
}

// refused returns the problem that a request has.
func (c *adminClient) refused(status int, kind, method, target, body string) admin.Problem {
	c.Helper()
	w := c.ask(method, target, body)
	if w.Code != status {
		c.Fatalf("%s %s %s: status %d, want %d: %s", method, target, body, w.Code, status, w.Body)
	}
	p := problemOf(c.T, w)
	if path.Base(strings.ReplaceAll(p.Type, "#", "/")) != kind {
		c.Errorf("%s %s %s: the type is %s, want %s", method, target, body, p.Type, kind)
	}
	return p
}

func text(value any) string { return fmt.Sprint(value) }

func TestAdminAPI_AccountsAndKeysLiveTheirLives(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	c.header.Set("Speechgate-Operator", "alice")
	account := c.object(http.StatusCreated, http.MethodPost, "accounts", `{"name":"Example Corp."}`)
	id := text(account["account_id"])
	if !strings.HasPrefix(text(account["service_password"]), "sgs_") || account["status"] != "open" {
		t.Errorf("the new account is %v", account)
	}
	if shown := c.object(http.StatusOK, http.MethodGet, "accounts/Example%20Corp.", ""); shown["account_id"] != id || shown["service_password"] != nil {
		t.Errorf("the account is %v", shown)
	}
	key := c.object(http.StatusCreated, http.MethodPost, "keys", `{"account_id":"Example Corp.","expires":"30d","label":"door","allow":["192.0.2.0/24"]}`)
	keyID, secret := text(key["key_id"]), text(key["key"])
	if !strings.HasPrefix(secret, "sgk_") || key["account_id"] != id || key["label"] != "door" {
		t.Errorf("the new key is %v", key)
	}
	if record, err := g.keys.Key(t.Context(), keyID); err != nil || record.AccountID != id {
		t.Errorf("the keystore has %+v: %v", record, err)
	}
	if shown := c.object(http.StatusOK, http.MethodPatch, "keys/"+keyID, `{"label":"gate"}`); shown["label"] != "gate" {
		t.Errorf("the key is %v", shown)
	}
	for _, step := range []struct{ method, target, body, status string }{
		{http.MethodPost, "keys/" + keyID + "/suspend", `{"reason":"leaked?"}`, "suspended"},
		{http.MethodPost, "keys/" + keyID + "/resume", "", "active"},
		{http.MethodPost, "accounts/" + id + "/limits", `{"limits":["requests=600/m","streams=2"]}`, "open"},
		{http.MethodPost, "accounts/" + id + "/limits", `{"limits":["streams=none"]}`, "open"},
		{http.MethodPost, "accounts/" + id + "/suspend", `{}`, "suspended"},
		{http.MethodPost, "accounts/" + id + "/resume", "", "open"},
		{http.MethodPatch, "accounts/" + id, `{"name":"Example Inc."}`, "open"},
		{http.MethodPost, "accounts/" + id + "/rotate", `{"overlap":"1h"}`, "open"},
		{http.MethodPost, "keys/" + keyID + "/revoke", `{"reason":"leaked"}`, "revoked"},
	} {
		want := http.StatusOK
		if got := c.object(want, step.method, step.target, step.body); got["status"] != step.status {
			t.Errorf("%s %s: the status is %v, want %s", step.method, step.target, got["status"], step.status)
		}
	}
	if limited := c.object(http.StatusOK, http.MethodGet, "accounts/"+id, ""); text(limited["limits"]) != "[requests=600/m]" {
		t.Errorf("the limits of the account are %v", limited["limits"])
	}
	c.refused(http.StatusBadRequest, "invalid_field", http.MethodPost, "accounts/"+id+"/limits", `{"limits":["requests=600"]}`)
	other := c.object(http.StatusCreated, http.MethodPost, "keys", `{"account_id":"`+id+`","expires":"never"}`)
	rotated := c.object(http.StatusCreated, http.MethodPost, "keys/"+text(other["key_id"])+"/rotate", `{"overlap":"24h"}`)
	if replaces, ok := rotated["replaces"].(map[string]any); !ok || replaces["key_id"] != other["key_id"] || replaces["key"] != nil || rotated["key"] == nil {
		t.Errorf("the rotated key is %v", rotated)
	}
	if deleted := c.object(http.StatusOK, http.MethodDelete, "keys/"+text(rotated["key_id"]), ""); deleted["status"] != "deleted" {
		t.Errorf("the deleted key is %v", deleted)
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodPost, "accounts/"+id+"/close", `{"confirm":false}`); p.Field != "confirm" {
		t.Errorf("a close without confirmation: %+v", p)
	}
	if closed := c.object(http.StatusOK, http.MethodPost, "accounts/"+id+"/close", `{"confirm":true}`); closed["status"] != "closed" {
		t.Errorf("the closed account is %v", closed)
	}
	c.refused(http.StatusConflict, "conflict", http.MethodPost, "keys", `{"account_id":"`+id+`","expires":"1d"}`)
	entries := c.object(http.StatusOK, http.MethodGet, "audit?limit=1000&account_id="+id, "")["items"].([]any) //nolint:forcetypeassert // or it panics
	for _, e := range entries {
		entry := e.(map[string]any) //nolint:forcetypeassert // or it panics
		if entry["actor_kind"] != "operator" || entry["actor_id"] != "alice" || entry["actor_ip"] != "192.0.2.9" {
			t.Errorf("the audit trail has %v", entry)
		}
	}
	if len(entries) < 12 {
		t.Errorf("the audit trail has %d entries", len(entries))
	}
	if check := c.object(http.StatusOK, http.MethodGet, "audit/verify", ""); check["fault"] != nil || check["head"] == "" {
		t.Errorf("the check of the audit trail is %v", check)
	}
}

// No answer except that of the request that makes a secret has it.
func TestAdminAPI_NeverReturnsASecretAgain(t *testing.T) {
	newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	account := c.object(http.StatusCreated, http.MethodPost, "accounts", `{"name":"Example Corp."}`)
	id := text(account["account_id"])
	issued := c.object(http.StatusCreated, http.MethodPost, "keys", `{"account_id":"`+id+`","expires":"1d"}`)
	keyID := text(issued["key_id"])
	explained := `{"key":"` + text(issued["key"]) + `","client_ip":"192.0.2.1","method":"POST","path":"/v1/recognize"}`
	for _, test := range []struct{ method, target, body string }{
		{http.MethodGet, "keys", ""},
		{http.MethodGet, "keys/" + keyID, ""},
		{http.MethodGet, "accounts", ""},
		{http.MethodGet, "accounts/" + id, ""},
		{http.MethodGet, "audit", ""},
		{http.MethodPost, "explain", explained},
		{http.MethodPost, "keys/" + keyID + "/suspend", `{}`},
	} {
		answer := c.ask(test.method, test.target, test.body)
		if body := answer.Body.String(); answer.Code != http.StatusOK || strings.Contains(body, text(issued["key"])) || strings.Contains(body, text(account["service_password"])) {
			t.Errorf("%s %s: %d %s", test.method, test.target, answer.Code, body)
		}
	}
}

func TestAdminAPI_CursorsGoThroughAList(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	account := g.newAccount("Other")
	var want, got []string
	for range 7 {
		key, _ := g.issue(keystore.NewKey{AccountID: account.ID})
		want = append(want, key.ID)
	}
	parts := 0
	for target := "keys?limit=3&account_id=" + account.ID; target != ""; parts++ {
		part := c.object(http.StatusOK, http.MethodGet, target, "")
		for _, item := range part["items"].([]any) { //nolint:forcetypeassert // or it panics
			got = append(got, text(item.(map[string]any)["key_id"])) //nolint:forcetypeassert // or it panics
		}
		target = ""
		if next, ok := part["next"].(string); ok {
			target = "keys?limit=3&account_id=" + account.ID + "&cursor=" + next
		}
	}
	slices.Sort(got) // keys of one millisecond are in the order of their IDs
	slices.Sort(want)
	if parts != 3 || !slices.Equal(got, want) {
		t.Errorf("%d parts with the keys %v, want 3 with %v", parts, got, want)
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodGet, "keys?cursor=x", ""); p.Field != "cursor" {
		t.Errorf("a wrong cursor: %+v", p)
	}
}

func TestAdminAPI_IdempotencyKeyIssuesOnce(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	c.header.Set("Idempotency-Key", "account-1")
	newAccount := `{"name":"Example Corp."}`
	account := c.object(http.StatusCreated, http.MethodPost, "accounts", newAccount)
	id := text(account["account_id"])
	again := func(first map[string]any, idField, secretField, target, body string) {
		t.Helper()
		w := c.ask(http.MethodPost, target, body)
		var second map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &second); err != nil || w.Code >= 300 {
			t.Fatalf("%s: %d %s", target, w.Code, w.Body)
		}
		if second[idField] != first[idField] || second[secretField] != nil || second["repeated"] != true || w.Header().Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s again: %v %v, want the record of %v without its secret", target, w.Header(), second, first)
		}
		if secretField != "" && first[secretField] == nil || first["repeated"] != nil {
			t.Errorf("%s: the first answer is %v", target, first)
		}
	}
	again(account, "account_id", "service_password", "accounts", newAccount)
	c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "accounts", `{"name":"Other Corp."}`)

	c.header.Set("Idempotency-Key", "key-1")
	newKey := `{"account_id":"` + id + `","expires":"30d","allow":["192.0.2.7"]}`
	key := c.object(http.StatusCreated, http.MethodPost, "keys", newKey)
	again(key, "key_id", "key", "keys", newKey)
	again(key, "key_id", "key", "keys", `{"account_id":"Example Corp.","expires":"30d","allow":["192.0.2.7"]}`)
	for _, other := range []string{
		`{"account_id":"` + id + `","expires":"31d","allow":["192.0.2.7"]}`,
		`{"account_id":"` + id + `","expires":"30d","allow":["192.0.2.8"]}`,
		`{"account_id":"` + id + `","expires":"30d","allow":["192.0.2.7"],"label":"x"}`,
		`{"account_id":"` + id + `","expires":"30d","allow":["192.0.2.7"],"issuable":true}`,
		`{"account_id":"` + g.newAccount("Third").ID + `","expires":"30d","allow":["192.0.2.7"]}`,
	} {
		if p := c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "keys", other); p.Field != "Idempotency-Key" {
			t.Errorf("%s: %+v", other, p)
		}
	}
	keyID := text(key["key_id"])
	c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "keys/"+keyID+"/rotate", `{}`)
	c.header.Set("Idempotency-Key", "key-2")
	rotated := c.object(http.StatusCreated, http.MethodPost, "keys/"+keyID+"/rotate", `{"overlap":"1h"}`)
	again(rotated, "key_id", "key", "keys/"+keyID+"/rotate", `{"overlap":"1h"}`)
	c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "keys/"+keyID+"/rotate", `{"overlap":"2h"}`)
	c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "keys/"+keyID+"/rotate", `{}`)
	c.header.Set("Idempotency-Key", "account-2")
	fresh := c.object(http.StatusOK, http.MethodPost, "accounts/"+id+"/rotate", `{}`)
	again(fresh, "service_id", "service_password", "accounts/"+id+"/rotate", `{}`)
	c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "accounts/Third/rotate", `{}`)
	c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "accounts/"+id+"/rotate", `{"overlap":"1h"}`)
	c.header.Set("Idempotency-Key", "account-3")
	known := `{"name":"Known Corp.","service_id":"known","service_password":"correct horse"}`
	again(c.object(http.StatusCreated, http.MethodPost, "accounts", known), "account_id", "", "accounts", known)
	c.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", http.MethodPost, "accounts", strings.Replace(known, "horse", "house", 1))

	c.header.Del("Idempotency-Key")
	if keys := c.object(http.StatusOK, http.MethodGet, "keys?account_id="+id, "")["items"].([]any); len(keys) != 2 { //nolint:forcetypeassert // or it panics
		t.Errorf("the account has %d keys, want the issued one and its successor", len(keys))
	}
	for _, wrong := range []string{"", " ", "a b", "ä", strings.Repeat("x", 256)} {
		c.header.Set("Idempotency-Key", wrong)
		if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodPost, "keys", newKey); p.Field != "Idempotency-Key" {
			t.Errorf("%q: %+v", wrong, p)
		}
	}
}

// Many requests with one idempotency key at the same time issue one key, whose secret one answer has.
func TestAdminAPI_IdempotencyKeyHoldsUnderARace(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	account := g.newAccount("Other")
	var all sync.WaitGroup
	answers := make([]map[string]any, 16)
	for i := range answers {
		all.Go(func() {
			c := newAdminClient(t)
			c.header.Set("Idempotency-Key", "one")
			_ = json.Unmarshal(c.ask(http.MethodPost, "keys", `{"account_id":"`+account.ID+`","expires":"never"}`).Body.Bytes(), &answers[i])
		})
	}
	all.Wait()
	secrets := 0
	for _, a := range answers {
		if a["key"] != nil {
			secrets++
		}
		if a["key_id"] == nil || a["key_id"] != answers[0]["key_id"] {
			t.Errorf("the answers are %v", answers)
		}
	}
	if secrets != 1 {
		t.Errorf("%d answers have a secret, want one", secrets)
	}
}

func TestAdminAPI_RefusesMistakes(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	for name, test := range map[string]struct {
		status             int
		kind               string
		method, path, body string
		field, want        string
	}{
		"a path":             {404, "not_found", http.MethodGet, "nothing", "", "", "there is no such path: GET /speechgate/openapi.json lists the paths"},
		"a method":           {405, "method_not_allowed", http.MethodPut, "keys", "", "", "method PUT: want GET, HEAD or POST"},
		"no such key":        {404, "not_found", http.MethodGet, "keys/key_x", "", "", `there is no key "key_x"`},
		"no such account":    {404, "not_found", http.MethodGet, "accounts/acc_x", "", "", `there is no account "acc_x"`},
		"no such job":        {404, "not_found", http.MethodGet, "jobs/0123", "", "", "there is no record of a job"},
		"another kind":       {400, "invalid_field", http.MethodGet, "keys/acc_x", "", "key_id", "is an account ID"},
		"a parameter":        {400, "invalid_request", http.MethodGet, "keys?acount=x", "", "", `the query: there is no parameter "acount": want `},
		"twice":              {400, "invalid_field", http.MethodGet, "keys?status=active&status=revoked", "", "status", "given 2 times"},
		"a limit":            {400, "invalid_field", http.MethodGet, "keys?limit=1001", "", "limit", "want a number from 1 to 1000"},
		"a negative limit":   {400, "invalid_field", http.MethodGet, "keys?limit=-1", "", "limit", "want a number from 1 to 1000"},
		"no limit":           {400, "invalid_field", http.MethodGet, "keys?limit=0", "", "limit", "want a number from 1 to 1000"},
		"a limit of sums":    {400, "invalid_field", http.MethodGet, "usage?limit=5", "", "limit", "it is for by key"},
		"an empty value":     {400, "invalid_field", http.MethodGet, "usage?account_id=", "", "account_id", "account_id is empty"},
		"another cursor":     {400, "invalid_field", http.MethodGet, "accounts?cursor=k1.a2V5", "", "cursor", "want one that this list returned"},
		"no label":           {400, "invalid_field", http.MethodPatch, "keys/" + key.ID, `{}`, "label", "label is missing"},
		"no addresses":       {400, "invalid_field", http.MethodPost, "keys", `{"account_id":"x","expires":"1d","allow":null}`, "allow", "want an array of strings"},
		"one address":        {400, "invalid_field", http.MethodPost, "keys", `{"account_id":"x","expires":"1d","allow":"192.0.2.1"}`, "allow", "want an array of strings"},
		"a wordy bool":       {400, "invalid_field", http.MethodPost, "keys", `{"account_id":"x","expires":"1d","issuable":"yes"}`, "issuable", "want true or false"},
		"a field twice":      {400, "invalid_request", http.MethodPost, "keys", `{"account_id":"x","expires":"1d","account_id":"y"}`, "", `the field "account_id" is given twice`},
		"an upper-case name": {400, "invalid_request", http.MethodPost, "keys", `{"ACCOUNT_ID":"x","expires":"1d"}`, "", "there is no field"},
		"an unasked body":    {400, "invalid_request", http.MethodPost, "keys/" + key.ID + "/resume", `{"reason":"x"}`, "", `there is no field "reason": want an empty object`},
		"a large body":       {413, "body_too_large", http.MethodPost, "keys", `{"label":"` + strings.Repeat("x", 70_000) + `"}`, "", "more than 65536 bytes"},
		"a lone password":    {400, "invalid_field", http.MethodPost, "accounts", `{"name":"Example Corp.","service_password":"correct horse"}`, "service_id", "service_id is missing"},
		"a secret as field":  {400, "invalid_request", http.MethodPost, "keys", `{"` + secret + `":1}`, "", "there is no field"},
		"a secret as ID":     {400, "invalid_field", http.MethodPost, "keys", `{"account_id":"` + secret + `","expires":"1d"}`, "account_id", "secret"},
		"a secret as label":  {400, "invalid_field", http.MethodPost, "keys", `{"account_id":"x","expires":"1d","label":"` + secret + `"}`, "label", "secret"},
		"a wordy limit":      {400, "invalid_field", http.MethodGet, "keys?limit=ten", "", "limit", "want a whole number"},
		"a wrong bool":       {400, "invalid_field", http.MethodGet, "keys?newest_first=1", "", "newest_first", "want true or false"},
		"a status":           {400, "invalid_field", http.MethodGet, "keys?status=actve", "", "status", "did you mean active?"},
		"a job's key":        {400, "invalid_field", http.MethodGet, "jobs?key_id=acc_x", "", "key_id", "key_id"},
		"a field":            {400, "invalid_request", http.MethodPost, "keys", `{"account":"x"}`, "", `the body: there is no field "account": want account_id, label, `},
		"no body":            {400, "invalid_request", http.MethodPost, "keys", "", "", "the body: it is empty: want an object"},
		"no expiry":          {400, "invalid_field", http.MethodPost, "keys", `{"account_id":"` + key.AccountID + `"}`, "expires", "expires"},
		"an expiry":          {400, "invalid_field", http.MethodPost, "keys", `{"account_id":"` + key.AccountID + `","expires":"soon"}`, "expires", "soon"},
		"two keys":           {400, "invalid_field", http.MethodPost, "explain", `{"key":"x","key_id":"key_x","client_ip":"::1","method":"GET","path":"/"}`, "key", "want one of them"},
		"a secret in path":   {400, "secret_in_url", http.MethodGet, "keys/" + secret, "", "", "the URL has a key"},
		"a secret in query":  {400, "secret_in_url", http.MethodGet, "keys?label=%73" + secret[1:], "", "", "the URL has a key"},
		"a secret as name":   {400, "secret_in_url", http.MethodGet, "keys?" + secret, "", "", "the URL has a key"},
		"an address":         {400, "invalid_field", http.MethodGet, "whoami?remote_ip=localhost", "", "remote_ip", "want one address"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newAdminClient(t).refused(test.status, test.kind, test.method, test.path, test.body)
			if p.Field != test.field || !strings.Contains(p.Detail, test.want) || strings.Contains(p.Detail, secret) {
				t.Errorf("%+v, want the field %q and %q", p, test.field, test.want)
			}
		})
	}
	c := newAdminClient(t)
	c.header.Set("Content-Type", "text/plain")
	c.refused(http.StatusUnsupportedMediaType, "unsupported_media_type", http.MethodPost, "keys", `{}`)
	c = newAdminClient(t)
	c.header.Set("Speechgate-Operator", secret)
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodPost, "keys", `{"account_id":"x","expires":"1d"}`); p.Field != "Speechgate-Operator" || strings.Contains(p.Detail, secret) {
		t.Errorf("%+v", p)
	}
}

func TestAdminAPI_TakesOddButValidRequests(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, _ := g.issue(keystore.NewKey{Label: "会議室のカメラ"})
	c := newAdminClient(t)
	for _, target := range []string{"keys/" + key.ID, "keys/%6bey" + key.ID[3:]} {
		if head := c.ask(http.MethodHead, target, ""); head.Code != http.StatusOK || head.Header().Get("Content-Type") != "application/json" {
			t.Errorf("HEAD %s: %d %v", target, head.Code, head.Header())
		}
		if shown := c.object(http.StatusOK, http.MethodGet, target, ""); shown["label"] != "会議室のカメラ" {
			t.Errorf("GET %s: %v", target, shown)
		}
	}
	if list := c.object(http.StatusOK, http.MethodGet, "keys?label=%E3%82%AB%E3%83%A1%E3%83%A9", "")["items"].([]any); len(list) != 1 { //nolint:forcetypeassert // or it panics
		t.Errorf("the keys with the label are %v", list)
	}
	for _, body := range []string{"", " ", "{}", " {\n}\n"} {
		if resumed := c.object(http.StatusOK, http.MethodPost, "keys/"+key.ID+"/resume", body); resumed["status"] != "active" {
			t.Errorf("resume with %q: %v", body, resumed)
		}
	}
	c.header.Set("Content-Type", "Application/JSON; charset=UTF-8")
	if renamed := c.object(http.StatusOK, http.MethodPatch, "keys/"+key.ID, `{"label":"\u5165\u53e3"}`); renamed["label"] != "入口" {
		t.Errorf("the key is %v", renamed)
	}
	c.refused(http.StatusNotFound, "not_found", http.MethodGet, "keys/", "")
	options := c.ask(http.MethodOptions, "keys", "")
	if options.Code != http.StatusMethodNotAllowed || options.Header().Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("OPTIONS: %d %v", options.Code, options.Header())
	}
}

// Each key is on one part of the list of usage, also while others are counted.
func TestAdminAPI_ListsTheUsageOfEachKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	account := g.newAccount("Other")
	other := g.openStore()
	var want, got []string
	for range 5 {
		key, _ := g.issue(keystore.NewKey{AccountID: account.ID})
		want = append(want, key.ID)
		other.CountUsage(policy.At(time.Now()), &keystore.UsageOf{KeyID: key.ID, AccountID: account.ID}, keystore.UsageCounts{Requests: 1})
	}
	slices.Sort(want)
	if err := other.Close(); err != nil { // it writes what it has counted
		t.Fatal(err)
	}
	c := newAdminClient(t)
	var parts int
	for _, query := range []string{"", "&since=1d"} {
		got, parts = nil, 0
		for target := "usage/keys?limit=2&account_id=Other" + query; target != ""; parts++ {
			part := c.object(http.StatusOK, http.MethodGet, target, "")
			for _, item := range part["items"].([]any) { //nolint:forcetypeassert // or it panics
				u := item.(map[string]any) //nolint:forcetypeassert // or it panics
				if u["requests"] != 1.0 || u["account_id"] != account.ID {
					t.Errorf("the usage is %v", u)
				}
				got = append(got, text(u["key_id"]))
			}
			target = ""
			if next, ok := part["next"].(string); ok {
				target = "usage/keys?limit=2&account_id=Other" + query + "&cursor=" + next
			}
		}
		if parts != 3 || !slices.Equal(got, want) {
			t.Errorf("%q: %d parts with the keys %v, want 3 with %v", query, parts, got, want)
		}
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodGet, "usage/keys?cursor=k1.a2V5", ""); p.Field != "cursor" {
		t.Errorf("a cursor of another list: %+v", p)
	}
}

func TestAdminAPI_ExplainsTheGatesOfTheServer(t *testing.T) {
	g := newGateway(t, "backend trial\n\t\tgrace 12h\n\t\tupstream_key "+backendKey)
	key, _ := g.issue(keystore.NewKey{})
	c := newAdminClient(t)
	allowed := c.object(http.StatusOK, http.MethodPost, "explain", `{"key_id":"`+key.ID+`","client_ip":"192.0.2.1","method":"POST","path":"/v1/recognize"}`)
	if allowed["allowed"] != true || allowed["backend"] != "trial" || allowed["dialect"] != "amivoice" {
		t.Errorf("the explanation is %v", allowed)
	}
	refused := c.object(http.StatusOK, http.MethodPost, "explain", `{"client_ip":"192.0.2.1","method":"POST","path":"/v1/recognize"}`)
	if refused["allowed"] != false || refused["reason"] != "credential_missing" || refused["answer"] == nil {
		t.Errorf("the explanation is %v", refused)
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodPost, "explain", `{"client_ip":"192.0.2.1","method":"GET","path":"/","dialect":"openai"}`); p.Field != "backend" {
		t.Errorf("no gate speaks the API: %+v", p)
	}
}

func TestAdminAPI_SaysWhoTheCallerIs(t *testing.T) {
	newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	c.header.Set("Speechgate-Operator", "alice")
	seen := c.object(http.StatusOK, http.MethodGet, "whoami", "")
	if servers, ok := seen["servers"].([]any); seen["operator"] != "alice" || seen["actor_ip"] != "192.0.2.9" || seen["remote_ip"] != "192.0.2.9" || !ok || len(servers) == 0 {
		t.Errorf("the caller is %v", seen)
	}
	for _, test := range []struct {
		remote, forwarded, client string
		trusted                   bool
	}{
		{"127.0.0.1", "&forwarded_for=203.0.113.1,%20198.51.100.7", "198.51.100.7", true}, // the harness trusts this proxy, strictly
		{"192.0.2.1", "&forwarded_for=203.0.113.1", "192.0.2.1", false},
		{"2001:db8::1", "", "2001:db8::1", false},
	} {
		seen := c.object(http.StatusOK, http.MethodGet, "whoami?remote_ip="+test.remote+test.forwarded, "")
		for _, server := range seen["servers"].([]any) { //nolint:forcetypeassert // or it panics
			if s := server.(map[string]any); s["client_ip"] != test.client || s["trusted_proxy"] != test.trusted { //nolint:forcetypeassert // or it panics
				t.Errorf("%+v: %v", test, s)
			}
		}
	}
}

func TestAdminAPI_HealthFollowsTheKeystore(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	if health := c.object(http.StatusOK, http.MethodGet, "health", ""); health["status"] != "ok" || health["live_streams"] != 0.0 {
		t.Errorf("the health is %v", health)
	}
	if err := g.keys.Close(); err != nil {
		t.Fatal(err)
	}
	moveStore(t, filepath.Dir(g.path), filepath.Dir(g.path)+".away")
	eventually(t, func() bool { return c.ask(http.MethodGet, "health", "").Code == http.StatusServiceUnavailable })
	c.refused(http.StatusServiceUnavailable, "keystore_unavailable", http.MethodGet, "health", "")
}
