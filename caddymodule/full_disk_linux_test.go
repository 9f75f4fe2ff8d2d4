package caddymodule_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// issueUntilRefused fills the disk with keys from the issuance API. It returns the number of keys,
// and the refusal.
func (i *issuer) issueUntilRefused() (issued int64, status int, retryAfter string) {
	i.t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	var count atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for count.Load() < 200_000 {
				r, err := http.NewRequest(http.MethodPost, "http://"+i.addr+issue.DefaultPath, strings.NewReader(url.Values{"epi": {"1h"}}.Encode()))
				if err != nil {
					i.t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				r.Header.Set("Authorization", "Bearer "+i.secret)
				answer, err := client.Do(r)
				if err != nil {
					i.t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					mu.Lock()
					status, retryAfter = answer.StatusCode, answer.Header.Get("Retry-After")
					mu.Unlock()
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	return count.Load(), status, retryAfter
}

func TestR22_KeysCanBeEndedOnAFullDisk(t *testing.T) {
	postgrestest.OfSQLite(t, "a full disk")
	dir := testutil.SmallDisk(t, 34<<20)
	if dir == "" {
		return
	}
	i := newIssuerAt(t, "max_rate 1000000", storetest.Place(filepath.Join(dir, "store", "keystore.db")))
	holdsSoon(t, "the reserve is there", func() bool {
		fi, err := os.Stat(string(i.place) + "-reserve")
		return err == nil && fi.Size() == keystore.ReserveBytes
	})
	other := i.newAccount("Other")
	victim, leaked := i.issue(keystore.NewKey{AccountID: other.ID})
	deleted, _ := i.issue(keystore.NewKey{AccountID: other.ID})
	_, mine := i.issue(keystore.NewKey{})
	i.backend.creating("017ac8786c5b0a0504399999", `{"status":"completed"}`)
	if got := i.create(mine); got.status != http.StatusOK {
		t.Fatalf("a job while there is room: %d %s", got.status, got.body)
	}

	issued, status, retryAfter := i.issueUntilRefused()
	if issued == 0 || status != http.StatusServiceUnavailable || retryAfter != "5" {
		t.Fatalf("%d keys were issued, then status %d, Retry-After %q", issued, status, retryAfter)
	}
	t.Logf("%d keys were issued", issued)
	i.backend.received() // of the job before
	if got := i.create(mine); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "service temporarily unavailable") {
		t.Errorf("a job on a full disk: %d %s", got.status, got.body)
	}
	if got := i.backend.received(); got != "" {
		t.Errorf("of a job that cannot be recorded, the backend got %d bytes", len(got))
	}
	if !strings.Contains(i.log(), `"reason":"store_unavailable","operation":"create_job"`) {
		t.Error("the log does not say why")
	}

	junk, err := os.Create(filepath.Join(dir, "junk"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(junk, endless{})
	_ = junk.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if got := i.poll("017ac8786c5b0a0504399999", mine); got.status != http.StatusOK {
		t.Errorf("polling one's job on a full disk: %d %s", got.status, got.body)
	}
	if got := i.send(i.form("/v1/recognize", [2]string{"u", leaked}, [2]string{"d", "-a-general"}, [2]string{"a", audio})); got.status != http.StatusOK || got.body == "" {
		t.Errorf("recognizing on a full disk: %d %s", got.status, got.body)
	}
	if _, err := i.keys.RevokeKey(t.Context(), now(), operator, victim.ID, "leaked"); err != nil {
		t.Errorf("revoking: %v", err)
	}
	if _, err := i.keys.DeleteKey(t.Context(), now(), operator, deleted.ID); err != nil {
		t.Errorf("deleting: %v", err)
	}
	if _, n, err := i.keys.RevokeTree(t.Context(), now(), operator, i.key.ID, "broken into"); err != nil || int64(n) < issued {
		t.Errorf("revoking all that was issued: %d of %d keys, %v", n, issued, err)
	}
	if _, err := i.keys.CloseAccount(t.Context(), now(), operator, i.account.ID); err != nil {
		t.Errorf("closing: %v", err)
	}
	holdsSoon(t, "the server refuses the keys that have ended", func() bool {
		return i.poll("017ac8786c5b0a0504399999", mine).status == http.StatusUnauthorized &&
			i.poll("017ac8786c5b0a0504399999", leaked).status == http.StatusUnauthorized
	})
	if k, err := i.keys.Key(t.Context(), victim.ID); err != nil || k.Status(now()) != "revoked" || k.Origin != policy.OriginConsole {
		t.Errorf("the key is %+v, %v", k, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
