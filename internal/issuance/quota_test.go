package issuance

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// counting is a keystore that counts calls, and has this many live keys.
type counting struct {
	Store
	live, asked atomic.Int64
	err         error
}

func (c *counting) LiveKeys(_ context.Context, _ string, _ policy.Time, most int) (int, error) {
	c.asked.Add(1)
	return min(int(c.live.Load()), most), c.err
}

func TestR20_TheRateIsHeldAndNoCallBelowItIsRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.IntRange(1, 20).Draw(t, "rate")
		q := newQuota(0, rate, 8)
		now, begun, issued := start, start, 0
		for range rapid.IntRange(1, 300).Draw(t, "calls") {
			// Mostly at the rate, sometimes many at once, sometimes after a pause.
			now += policy.Time(rapid.SampledFrom([]int{0, 0, 0, 1, 1000 / rate, 1000, 200_000}).Draw(t, "wait"))
			over, err := q.take(context.Background(), now, nil, "acc_1")
			if err != nil {
				t.Fatal(err)
			}
			if over.retryAfter == 0 {
				issued++
			} else if over.retryAfter < 1 || over.retryAfter > 60 || over.live != 0 {
				t.Fatalf("refused with %+v", over)
			}
			most := rate*burstSeconds + int(int64(now-begun)*int64(rate)/1000) + 1
			if issued > most {
				t.Fatalf("%d keys within %d ms, want %d at most", issued, now-begun, most)
			}
			if over.retryAfter > 0 && issued < rate*burstSeconds {
				t.Fatalf("refused after %d keys, fewer than the burst", issued)
			}
		}
	})
}

func TestR20_RetryAfterIsLongEnough(t *testing.T) {
	t.Parallel()
	q := newQuota(0, 1, 8)
	for i := range burstSeconds {
		if over, _ := q.take(t.Context(), start, nil, "acc_1"); over != (excess{}) {
			t.Fatalf("key %d: %+v", i, over)
		}
	}
	over, _ := q.take(t.Context(), start, nil, "acc_1")
	if over.retryAfter != 1 {
		t.Fatalf("the next one: %+v", over)
	}
	if over, _ := q.take(t.Context(), start+999, nil, "acc_1"); over.retryAfter != 1 {
		t.Errorf("before: %+v", over)
	}
	if over, _ := q.take(t.Context(), start+1000, nil, "acc_1"); over.retryAfter != 0 {
		t.Errorf("then: %+v", over)
	}
	if over, _ := q.take(t.Context(), start, nil, "acc_2"); over.retryAfter != 0 {
		t.Errorf("another account: %+v", over)
	}
}

func TestR20_LiveKeysAreCountedRarelyAndNeverExceeded(t *testing.T) {
	t.Parallel()
	q, store := newQuota(10, 0, 8), new(counting)
	store.live.Store(7)
	for i := range 3 {
		if over, err := q.take(t.Context(), start, store, "acc_1"); err != nil || over != (excess{}) {
			t.Fatalf("key %d: %+v, %v", i, over, err)
		}
	}
	store.live.Store(10)
	for range 100 {
		if over, _ := q.take(t.Context(), start+500, store, "acc_1"); over != (excess{60, 10}) {
			t.Fatalf("one too many: %+v", over)
		}
	}
	if n := store.asked.Load(); n != 1 {
		t.Errorf("the keystore was asked %d times", n)
	}
	store.live.Store(9) // one has expired
	if over, _ := q.take(t.Context(), start+1000, store, "acc_1"); over != (excess{}) {
		t.Errorf("one has expired: %+v", over)
	}
	if over, _ := q.take(t.Context(), start+1001, store, "acc_1"); over == (excess{}) {
		t.Error("one too many again")
	}
	store.err = keystore.ErrUnavailable
	if _, err := q.take(t.Context(), start+2000, store, "acc_2"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("a fault of the keystore: %v", err)
	}
}

func TestR20_ACountOfLiveKeysIsOneMinuteOldAtMost(t *testing.T) {
	t.Parallel()
	q, store := newQuota(10, 0, 8), new(counting)
	for _, tt := range []struct {
		at    policy.Time
		asked int64
	}{
		{start, 1}, {start + 59_999, 1}, {start + 60_000, 2}, {start + 119_999, 2}, {start + 120_000, 3},
	} {
		if over, err := q.take(t.Context(), tt.at, store, "acc_1"); err != nil || over != (excess{}) {
			t.Fatalf("after %d ms: %+v, %v", tt.at-start, over, err)
		}
		if n := store.asked.Load(); n != tt.asked {
			t.Errorf("after %d ms the keystore has been asked %d times, want %d", tt.at-start, n, tt.asked)
		}
	}
}

// A machine without a battery begins in 1970.
func TestR20_LiveKeysAreCountedBeforeTheFirstKeyWhateverTheClockSays(t *testing.T) {
	t.Parallel()
	for _, now := range []policy.Time{0, 1, start} {
		q, store := newQuota(10, 0, 8), new(counting)
		store.live.Store(10)
		if over, err := q.take(t.Context(), now, store, "acc_1"); err != nil || over != (excess{60, 10}) {
			t.Errorf("at %s the first key: %+v, %v", now, over, err)
		}
	}
}

func TestR20_TheAccountThatAskedLongestAgoIsForgottenFirst(t *testing.T) {
	t.Parallel()
	q := newQuota(0, 1, 3)
	spend := func(account string) (issued int) {
		for range burstSeconds {
			if over, _ := q.take(t.Context(), start, nil, account); over == (excess{}) {
				issued++
			}
		}
		return issued
	}
	for _, account := range []string{"acc_1", "acc_2", "acc_3", "acc_1", "acc_4"} {
		spend(account)
	}
	for account, want := range map[string]int{"acc_1": 0, "acc_3": 0, "acc_4": 0} {
		if n := spend(account); n != want {
			t.Errorf("%s has %d keys issued again, want %d", account, n, want)
		}
	}
	if n := spend("acc_2"); n != burstSeconds {
		t.Errorf("the account that was forgotten has %d keys issued, want %d", n, burstSeconds)
	}
}

func TestR20_TheQuotaIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	q, store := newQuota(500, 3, 8), new(counting)
	var issued atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				if over, err := q.take(t.Context(), start, store, "acc_1"); err == nil && over == (excess{}) {
					issued.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := issued.Load(); n != 3*burstSeconds {
		t.Errorf("%d keys, want %d", n, 3*burstSeconds)
	}
}

func TestR20_TheQuotasMemoryIsLimited(t *testing.T) {
	t.Parallel()
	q := newQuota(0, 1, 4)
	for i := range 1000 {
		if over, _ := q.take(t.Context(), start, nil, "acc_"+strconv.Itoa(i)); over != (excess{}) {
			t.Fatalf("account %d: %+v", i, over)
		}
	}
	if len(q.accounts) != 4 || q.order.Len() != 4 {
		t.Errorf("it keeps %d accounts, %d in order", len(q.accounts), q.order.Len())
	}
}

func TestR20_IssuingStopsAtTheLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	limited := settings
	limited.MaxLiveKeys, limited.MaxRate = 3, 1
	authority := New(limited)
	for i := range 3 {
		call := f.byKey("60000", "")
		if i == 1 {
			call = f.byService("60000", "")
		}
		if got := authority.Issue(t.Context(), start, client, false, f, call); got.Status != http.StatusOK {
			t.Fatalf("key %d: %d %s", i, got.Status, got.Text)
		}
	}
	for name, call := range map[string]*KeyRequest{"by key": f.byKey("", ""), "by service": f.byService("", "")} {
		got := authority.Issue(t.Context(), start.Add(30*time.Second), client, false, f, call)
		if got.Status != http.StatusTooManyRequests || got.Reason != policy.LimitReached || got.RetryAfter != 60 || got.AccountID != f.account.ID ||
			!got.Secret.Empty() || !strings.Contains(got.Text, "3 keys") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// A request that is refused for another reason says that reason, and uses no quota.
	if got := authority.Issue(t.Context(), start, client, false, f, f.byKey("soon", "")); got.Status != http.StatusBadRequest {
		t.Errorf("a mistake: %+v", got)
	}
	if got := authority.Issue(t.Context(), start.Add(time.Minute), client, false, f, f.byKey("", "")); got.Status != http.StatusOK {
		t.Errorf("after they expired: %+v", got)
	}
	if n, err := f.LiveKeys(t.Context(), f.account.ID, start, 100); err != nil || n != 3+1 {
		t.Errorf("%d keys, %v", n, err)
	}
}

func TestR20_IssuingStopsAtTheRate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	limited := settings
	limited.MaxRate = 1
	authority := New(limited)
	refused := 0
	for range burstSeconds + 5 {
		got := authority.Issue(t.Context(), start, client, false, f, f.byKey("", ""))
		if got.Status == http.StatusTooManyRequests {
			refused++
			if got.Reason != policy.LimitReached || got.RetryAfter != 1 || !strings.Contains(got.Text, "at 1 a second") {
				t.Errorf("%+v", got)
			}
		}
	}
	if refused != 5 {
		t.Errorf("%d of %d calls were refused, want 5", refused, burstSeconds+5)
	}
}
