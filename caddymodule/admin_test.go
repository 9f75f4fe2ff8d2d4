package caddymodule_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/keystore"
)

const cutText = "p can't feed audio data to recognizer server"

// askAdmin calls the admin API as Caddy does. It returns the status, and the answer or the
// detail of the problem.
func askAdmin(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	w := answerOfAdmin(t, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	if w.Code >= 400 {
		return w.Code, problemOf(t, w).Detail
	}
	return w.Code, strings.TrimSpace(w.Body.String())
}

// answerOfAdmin has the admin API of the running configuration answer a request.
func answerOfAdmin(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	provisioned := new(admin.Admin)
	if err := provisioned.Provision(caddy.ActiveContext()); err != nil {
		t.Fatal(err)
	}
	routes := provisioned.Routes()
	if len(routes) != 1 || routes[0].Pattern != "/speechgate/" {
		t.Fatalf("the routes are %v", routes)
	}
	w := httptest.NewRecorder()
	if err := routes[0].Handler.ServeHTTP(w, r); err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	want := "application/json"
	if w.Code >= 400 {
		want = "application/problem+json"
	}
	if kind := w.Header().Get("Content-Type"); kind != want || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: the header is %v, want the type %s and no-store", r.Method, r.URL, w.Header(), want)
	}
	return w
}

// problemOf returns the problem in an answer, which must be of the status in it.
func problemOf(t *testing.T, w *httptest.ResponseRecorder) (p admin.Problem) {
	t.Helper()
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil || p.Status != w.Code || p.Detail == "" || p.Error != p.Detail || p.Title == "" || p.Type == "" {
		t.Errorf("status %d, the problem is %+v: %v", w.Code, p, err)
	}
	return p
}

// listed returns the live streams from the admin API.
func listed(t *testing.T) (list []map[string]any) {
	t.Helper()
	status, answer := askAdmin(t, http.MethodGet, admin.StreamsPath, "")
	if err := json.Unmarshal([]byte(answer), &list); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %q: %v", status, answer, err)
	}
	return list
}

func TestAdmin_IsACaddyModule(t *testing.T) {
	info, err := caddy.GetModule("admin.api.speechgate")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := info.New().(caddy.AdminRouter); !ok {
		t.Errorf("%T has no routes", info.New())
	}
}

func TestAdmin_ListsLiveStreams(t *testing.T) {
	g := streamGateway(t, "backend trial")
	if status, answer := askAdmin(t, http.MethodGet, admin.StreamsPath, ""); status != http.StatusOK || answer != "[]" {
		t.Errorf("without streams: %d %s", status, answer)
	}
	key, secret := g.issue(keystore.NewKey{})
	waits := g.dialStream("X-Forwarded-For: 2001:db8::7\r\n").upgraded()
	eventually(t, func() bool { return len(listed(t)) == 1 })
	runs := g.dialStream("").upgraded()
	runs.start(secret)
	runs.WantText("s")
	list := listed(t)
	if len(list) != 2 {
		t.Fatalf("the list is %v", list)
	}
	times := [2]map[string]any{}
	for i, s := range list {
		times[i] = map[string]any{"begun_at": s["begun_at"], "accepted_at": s["accepted_at"]}
		if id, _ := s["stream_id"].(string); !strings.HasPrefix(id, "str_") || len(id) < 20 {
			t.Errorf("a stream's ID is %v", s["stream_id"])
		}
		for _, name := range []string{"stream_id", "begun_at", "accepted_at"} {
			delete(s, name)
		}
	}
	if want := (map[string]any{"key_id": nil, "account_id": nil, "backend": "trial", "client_ip": "2001:db8::7"}); !reflect.DeepEqual(list[0], want) {
		t.Errorf("the one that waits is %v, want %v", list[0], want)
	}
	if want := (map[string]any{"key_id": key.ID, "account_id": key.AccountID, "backend": "trial", "client_ip": "127.0.0.1"}); !reflect.DeepEqual(list[1], want) {
		t.Errorf("the one that runs is %v, want %v", list[1], want)
	}
	if times[0]["begun_at"] == nil || times[0]["accepted_at"] != nil || times[1]["begun_at"] == nil || times[1]["accepted_at"] == nil {
		t.Errorf("the times are %v", times)
	}
	_ = runs.Close()
	eventually(t, func() bool { return len(listed(t)) == 1 })
	_ = waits.Close()
	eventually(t, func() bool { return len(listed(t)) == 0 })
}

func TestAdmin_CutsOneStreamOrAllOfAKeyOrAnAccount(t *testing.T) {
	g := streamGateway(t, "")
	account := g.newAccount("Other")
	key, secret := g.issue(keystore.NewKey{AccountID: account.ID})
	_, colleague := g.issue(keystore.NewKey{AccountID: account.ID})
	_, stranger := g.issue(keystore.NewKey{})
	begin := func(secret string) *streamClient {
		t.Helper()
		c := g.dialStream("").upgraded()
		c.start(secret)
		c.WantText("s")
		return c
	}
	cut := func(order, want string, gone ...*streamClient) {
		t.Helper()
		if status, answer := askAdmin(t, http.MethodPost, admin.CutPath, order); status != http.StatusOK || answer != want {
			t.Errorf("%s: %d %s, want %s", order, status, answer, want)
		}
		for _, c := range gone {
			c.WantText(cutText)
			_ = c.Close()
		}
	}
	stays := begin(stranger)
	one, two, three := begin(secret), begin(secret), begin(colleague)
	cut(`{"key_id":"`+key.ID+`"}`, `{"cut":2}`, one, two)
	four := begin(secret) // the key is as good as it was
	cut(`{"account_id":"Other","operator":"alice"}`, `{"cut":2}`, three, four)
	eventually(t, func() bool { return len(listed(t)) == 1 })
	cut(`{"account_id":"`+account.ID+`"}`, `{"cut":0}`)
	cut(`{"stream_id":"str_none"}`, `{"cut":0}`)

	id, _ := listed(t)[0]["stream_id"].(string)
	waits := g.dialStream("").upgraded()
	stays.wav() // it lives on
	stays.text("e")
	stays.Until("e")
	cut(`{"stream_id":"`+id+`"}`, `{"cut":1}`, stays)
	eventually(t, func() bool { return len(listed(t)) == 1 })
	id, _ = listed(t)[0]["stream_id"].(string)
	cut(`{"stream_id":"`+id+`"}`, `{"cut":1}`, waits)
	eventually(t, func() bool { return len(listed(t)) == 0 })
	for order, want := range map[string]string{
		`{"account_id":"acc_none"}`: `there is no account \"acc_none\"`,
		`{"account_id":"Nobody"}`:   `there is no account with the ID or name \"Nobody\"`,
		`{"key_id":"key_none"}`:     `there is no key \"key_none\"`,
	} {
		if status, answer := askAdmin(t, http.MethodPost, admin.CutPath, order); status != http.StatusNotFound || !strings.Contains(answer, strings.ReplaceAll(want, `\"`, `"`)) && !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s, want 404 %s", order, status, answer, want)
		}
	}
	entries, _, err := g.keys.Audit(t.Context(), keystore.AuditList{})
	if err != nil {
		t.Fatal(err)
	}
	var cuts []string
	for _, e := range entries {
		if e.Action == "stream_cut" {
			cuts = append(cuts, e.Actor.Kind+" "+e.Actor.ID+" "+e.AccountID+" "+e.Subject+": "+e.Detail)
		}
	}
	slices.Reverse(cuts)
	if len(cuts) != 4 || cuts[0] != "operator  "+account.ID+" "+key.ID+": streams cut: 2" || cuts[1] != "operator alice "+account.ID+" "+account.ID+": streams cut: 2" ||
		!strings.HasSuffix(cuts[3], "  "+id+": streams cut: 1") {
		t.Errorf("the audit trail has the cuts %q", cuts)
	}
	if log := g.log(); strings.Count(log, `"msg":"stream cut","reason":"cut_by_operator"`) != 6 || !strings.Contains(log, `"stream_id":"`+id+`","detail":"the operator's word"`) {
		t.Errorf("the log has not six cuts, with why:\n%s", log)
	}
}

func TestAdmin_RefusesInvalidRequests(t *testing.T) {
	newGateway(t, "upstream_key "+backendKey)
	const oneOf = "want one of stream_id, key_id and account_id"
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"cut by GET":         {http.MethodGet, admin.CutPath, "", http.StatusMethodNotAllowed, "method GET: want POST"},
		"list by POST":       {http.MethodPost, admin.StreamsPath, "{}", http.StatusMethodNotAllowed, "method POST: want GET or HEAD"},
		"list by DELETE":     {http.MethodDelete, admin.StreamsPath, "", http.StatusMethodNotAllowed, "method DELETE: want GET or HEAD"},
		"no body":            {http.MethodPost, admin.CutPath, "", http.StatusBadRequest, "the body: it is empty: want an object"},
		"no JSON":            {http.MethodPost, admin.CutPath, "key_id=key_x", http.StatusBadRequest, "the body: it is not JSON: invalid character"},
		"no object":          {http.MethodPost, admin.CutPath, `["str_x"]`, http.StatusBadRequest, "the body: want one object, and nothing after it"},
		"something after it": {http.MethodPost, admin.CutPath, `{"key_id":"key_x"} {}`, http.StatusBadRequest, "the body: want one object, and nothing after it"},
		"an unknown member":  {http.MethodPost, admin.CutPath, `{"key":"key_x"}`, http.StatusBadRequest, `the body: there is no field "key": want stream_id, key_id, account_id or operator`},
		"another case":       {http.MethodPost, admin.CutPath, `{"Key_ID":"key_x"}`, http.StatusBadRequest, `the body: there is no field "Key_ID"`},
		"twice":              {http.MethodPost, admin.CutPath, `{"key_id":"key_x","key_id":"key_y"}`, http.StatusBadRequest, `the body: the field "key_id" is given twice`},
		"no UTF-8":           {http.MethodPost, admin.CutPath, "{\"operator\":\"\xff\"}", http.StatusBadRequest, "the body: it is not UTF-8"},
		"a null":             {http.MethodPost, admin.CutPath, `{"key_id":null}`, http.StatusBadRequest, "key_id: want a string"},
		"a number":           {http.MethodPost, admin.CutPath, `{"key_id":1}`, http.StatusBadRequest, "key_id: want a string"},
		"half an object":     {http.MethodPost, admin.CutPath, `{"key_id":"key_x"`, http.StatusBadRequest, "the body: it ends before the end of the object"},
		"too large":          {http.MethodPost, admin.CutPath, `{"key_id":"` + strings.Repeat("x", 5000) + `"}`, http.StatusRequestEntityTooLarge, "the body has more than 4096 bytes"},
		"none":               {http.MethodPost, admin.CutPath, `{}`, http.StatusBadRequest, oneOf},
		"null":               {http.MethodPost, admin.CutPath, `null`, http.StatusBadRequest, "the body: want one object"},
		"empty":              {http.MethodPost, admin.CutPath, `{"stream_id":""}`, http.StatusBadRequest, oneOf},
		"two":                {http.MethodPost, admin.CutPath, `{"stream_id":"str_x","key_id":"key_x"}`, http.StatusBadRequest, oneOf},
		"a secret":           {http.MethodPost, admin.CutPath, `{"key_id":"key_x","operator":"sgk_VEf3qJAQscBbevWaBhmaYpg1zml0gIsc06FS5a"}`, http.StatusBadRequest, "the operator's name has a key"},
		"all":                {http.MethodPost, admin.CutPath, `{"stream_id":"str_x","key_id":"key_x","account_id":"acc_x"}`, http.StatusBadRequest, oneOf},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := askAdmin(t, test.method, test.path, test.body)
			if status != test.status || !strings.HasPrefix(answer, test.want) {
				t.Errorf("%d %q, want %d %q", status, answer, test.status, test.want)
			}
		})
	}
}
