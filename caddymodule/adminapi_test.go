package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

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
