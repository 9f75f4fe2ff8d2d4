package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
)

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
