package caddymodule_test

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// What explain says is what the gate does, with the counts of this server.
func TestR20_ExplainKnowsTheCounts(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	key, secret := g.limitedKey("requests=2/m concurrent=5 audio=3s/d operations=recognize")
	g.limitAccount(secret, "requests=9/m streams=3")
	explain := func(path string) map[string]any {
		t.Helper()
		return c.object(http.StatusOK, http.MethodPost, "explain", `{"key_id":"`+key.ID+`","client_ip":"192.0.2.1","method":"POST","path":"`+path+`"}`)
	}
	wantLimits := func(got any, want string) {
		t.Helper()
		if got := jsonText(t, got); got != want {
			t.Errorf("the limits are\n%s, want\n%s", got, want)
		}
	}
	wantLimits(explain("/v1/recognize")["limits"], `[{"limit":"requests=2/m","of":"key","used":0},{"limit":"concurrent=5","of":"key","used":0},`+
		`{"limit":"audio=3s/d","of":"key","used":0},{"limit":"operations=recognize","of":"key","used":null},`+
		`{"limit":"requests=9/m","of":"account","used":0},{"limit":"streams=3","of":"account","used":0}]`)
	begun := time.Now()
	for range 2 {
		if got := g.recognizeSeconds(secret, 1); got.status != http.StatusOK {
			t.Fatal(got.status)
		}
	}
	e := explain("/v1/recognize")
	wantLimits(e["limits"], `[{"limit":"requests=2/m","of":"key","used":2},{"limit":"concurrent=5","of":"key","used":0},`+
		`{"limit":"audio=3s/d","of":"key","used":2},{"limit":"operations=recognize","of":"key","used":null},`+
		`{"limit":"requests=9/m","of":"account","used":2},{"limit":"streams=3","of":"account","used":0}]`)
	wantAMinute(t, g.recognize(secret), begun)
	answer, _ := e["answer"].(map[string]any)
	if wait, ok := answer["retry_after"].(float64); e["reason"] != "limit_reached" || !ok || wait < max(1, 59-math.Floor(time.Since(begun).Seconds())) || wait > 60 {
		t.Errorf("the explanation is %v", e)
	}
	if text := jsonText(t, e["rules"]); !strings.Contains(text, `"verdict":"refused","why":"The request would exceed the key's limit requests=2/m."`) {
		t.Errorf("the rules are %s", text)
	}
	// At another time, the counts are others.
	at := c.object(http.StatusOK, http.MethodPost, "explain", `{"key_id":"`+key.ID+`","client_ip":"192.0.2.1","method":"POST","path":"/v1/recognize","at":"`+now().Add(time.Minute).String()+`"}`)
	if at["allowed"] != true {
		t.Errorf("a minute later: %v", at)
	}
	used := c.object(http.StatusOK, http.MethodGet, "keys/"+key.ID+"/limits?operation=recognize", "")
	if met := jsonText(t, used["met"]); used["key_id"] != key.ID || used["account_id"] != key.AccountID || !strings.HasPrefix(met, `{"limit":"requests=2/m","of":"key","retry_after":`) {
		t.Errorf("the limits of the key are %v", used)
	}
	for _, free := range []string{"", "?operation=read_job"} {
		if used := c.object(http.StatusOK, http.MethodGet, "keys/"+key.ID+"/limits"+free, ""); used["met"] != nil {
			t.Errorf("%s: the limits of the key are %v", free, used)
		}
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodGet, "keys/"+key.ID+"/limits?operation=x", ""); p.Field != "operation" {
		t.Errorf("a wrong operation: %+v", p)
	}
	c.refused(http.StatusNotFound, "not_found", http.MethodGet, "keys/key_00000000000000000000/limits", "")
	// The account's limits count for each of its keys.
	other, _ := g.issue(keystore.NewKey{})
	g.limitAccount(secret, "requests=2/m")
	used = c.object(http.StatusOK, http.MethodGet, "keys/"+other.ID+"/limits?operation=recognize", "")
	if met := jsonText(t, used["met"]); !strings.HasPrefix(met, `{"limit":"requests=2/m","of":"account",`) {
		t.Errorf("the limits of another key are %v", used)
	}
}

func TestR20_ExplainKnowsTheLiveStreams(t *testing.T) {
	g := streamGateway(t, "")
	c := newAdminClient(t)
	key, secret := g.limitedKey("streams=1")
	s := g.dialStream("").upgraded()
	s.start(secret)
	s.WantText("s")
	explain := func() map[string]any {
		return c.object(http.StatusOK, http.MethodPost, "explain", `{"key_id":"`+key.ID+`","client_ip":"192.0.2.1","method":"GET","path":"/v1/"}`)
	}
	if e := explain(); e["reason"] != "stream_limit" || jsonText(t, e["limits"]) != `[{"limit":"streams=1","of":"key","used":1}]` {
		t.Errorf("the explanation is %v", e)
	}
	_ = s.Close()
	g.wantNoStreams(t)
	if e := explain(); e["allowed"] != true || jsonText(t, e["limits"]) != `[{"limit":"streams=1","of":"key","used":0}]` {
		t.Errorf("the explanation is %v", e)
	}
}

// jsonText returns the JSON of a value, with the members of objects in the order of their names.
func jsonText(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
