package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// A key whose answer has come is there, whatever happens to the process then.
func TestIssuedKeysSurviveKill(t *testing.T) {
	t.Parallel()
	p := newProgram(t, `{
	admin off
}
http://localhost:8080 {
	speechgate_issue
	speechgate amivoice
	speechgate_sandbox amivoice
}
`)
	p.start()
	_, issuer := p.key(p.account(), "--issuable")
	mint := func() (string, bool) {
		req, err := http.NewRequest(http.MethodPost, p.base+"/issue_service_authorization", strings.NewReader("epi=1h"))
		if err != nil {
			t.Error(err)
			return "", false
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "Bearer "+issuer)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", false // the process is gone
		}
		defer resp.Body.Close()
		key, err := io.ReadAll(resp.Body)
		return string(key), err == nil && resp.StatusCode == http.StatusOK
	}
	var mu sync.Mutex
	var keys []string
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for {
				key, ok := mint()
				if !ok {
					return
				}
				mu.Lock()
				keys = append(keys, key)
				mu.Unlock()
			}
		})
	}
	p.eventually("keys are issued", func() bool { mu.Lock(); defer mu.Unlock(); return len(keys) > 100 })
	p.kill()
	clients.Wait()
	p.start()
	store := p.openStore()
	for n, key := range keys {
		record, err := store.FindKey(t.Context(), policy.NewSecret(key))
		if err != nil || record.Key().Expires.Passed(policy.At(time.Now())) || record.Key().Origin != policy.OriginAPI {
			t.Fatalf("key %d of the %d that were handed out: %v, %+v", n+1, len(keys), err, record)
		}
	}
	for _, key := range keys[len(keys)-16:] { // the last, which were most at risk
		if _, answer := p.post("/v1/recognize", key); answer["code"] != "" {
			t.Fatalf("with a key that was handed out, recognition answers %v", answer)
		}
	}
	if check := p.run("audit", "verify"); check["fault"] != nil {
		t.Errorf("the audit trail: %v", check)
	}
}
