package caddymodule_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	benchKeys    = 100_000 // in the store, and checked at random
	benchClients = 64
)

// BenchmarkIssue lets 64 clients issue keys over HTTP while other keys are checked as the gate does.
// The keys are durable when they are counted. The benchmark reports keys per second, and the 99th
// percentile of the checks, in comparison with the same checks alone.
//
//	go test ./caddymodule -run '^$' -bench '^BenchmarkIssue$' -benchtime 20000x
func BenchmarkIssue(b *testing.B) {
	dir := b.TempDir()
	b.Setenv("XDG_DATA_HOME", dir)
	b.Setenv("XDG_CONFIG_HOME", dir)
	place := storetest.New(b)
	keys, issuer := fillStore(b, place)
	addr := freeAddr(b)
	err := loadCaddyfile(`{
		admin off
		persist_config off
		storage file_system ` + filepath.Join(dir, "storage") + `
		auto_https disable_redirects
		log default {
			output discard
		}
		speechgate {
			keystore ` + place.Option() + `
		}
	}
	http://` + addr + ` {
		speechgate_issue {
			max_rate 1000000
		}
	}`)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()
	store := serverStore(b)
	for _, secret := range keys { // as they are in use
		check(b, store, secret)
	}

	alone := percentile99(checkEvery(b, store, keys, 3*time.Second))
	transport := &http.Transport{MaxIdleConnsPerHost: benchClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var left atomic.Int64
	left.Store(int64(b.N))
	var issuing sync.WaitGroup
	b.ResetTimer()
	for range benchClients {
		issuing.Go(func() {
			for left.Add(-1) >= 0 {
				mint(b, client, addr, issuer)
			}
		})
	}
	done := make(chan struct{})
	var meanwhile []time.Duration
	var checking sync.WaitGroup
	checking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				meanwhile = append(meanwhile, checkEvery(b, store, keys, 50*time.Millisecond)...)
			}
		}
	})
	issuing.Wait()
	b.StopTimer()
	close(done)
	checking.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
	b.ReportMetric(float64(alone.Nanoseconds()), "alone-p99-ns")
	b.ReportMetric(float64(percentile99(meanwhile).Nanoseconds()), "meanwhile-p99-ns")
	b.ReportMetric(float64(percentile99(meanwhile))/float64(alone), "p99-ratio")
}

// fillStore makes a keystore with many keys, and one key that may issue others.
func fillStore(b *testing.B, place storetest.Place) (keys []policy.Secret, issuer string) {
	b.Helper()
	cfg := place.CommandLine()
	cfg.Clock = now
	store, err := keystore.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	account, _, err := store.CreateAccount(b.Context(), now(), operator, "Bench")
	if err != nil {
		b.Fatal(err)
	}
	_, secret, err := store.IssueKey(b.Context(), now(), operator, keystore.NewKey{
		AccountID: account.ID, Origin: policy.OriginConsole, Expires: policy.Never(), Issuable: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	for range benchKeys {
		text, err := policy.RandomText(40, randomBytes{})
		if err != nil {
			b.Fatal(err)
		}
		keys = append(keys, policy.NewSecret(text))
	}
	if _, err := store.ImportKeys(b.Context(), now(), operator, keystore.Import{AccountID: account.ID, Expires: policy.Never(), Secrets: keys}); err != nil {
		b.Fatal(err)
	}
	return keys, secret.Reveal()
}

type randomBytes struct{}

func (randomBytes) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return len(p), nil
}

func check(b *testing.B, store *keystore.Store, secret policy.Secret) {
	record, err := store.FindKey(context.Background(), secret)
	if err != nil {
		b.Error(err)
		return
	}
	key := record.Key()
	if !policy.Decide(now(), &key, &policy.Request{Operation: policy.Recognize, Client: netip.IPv6Loopback()}, policy.Rules{}).Reason.OK() {
		b.Error("a good key was refused")
	}
}

// checkEvery checks random keys, a few every 50 microseconds. It times all except the first of
// them, which waits for a core to wake up.
func checkEvery(b *testing.B, store *keystore.Store, keys []policy.Secret, long time.Duration) (times []time.Duration) {
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		check(b, store, keys[rand.IntN(len(keys))])
		for range 8 {
			secret := keys[rand.IntN(len(keys))]
			begun := time.Now()
			check(b, store, secret)
			times = append(times, time.Since(begun))
		}
	}
	return times
}

func percentile99(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)*99/100]
}

func mint(b *testing.B, client *http.Client, addr, issuer string) {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+addr+issue.DefaultPath, strings.NewReader("epi=60000"))
	if err != nil {
		b.Error(err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+issuer)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(r)
	if err != nil {
		b.Error(err)
		return
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Errorf("%d %q, %v", resp.StatusCode, text, err)
	}
}
