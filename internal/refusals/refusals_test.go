package refusals

import (
	"sync"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func numbers(all []Refusal) (n []uint64) {
	for _, r := range all {
		n = append(n, r.Seq)
	}
	return n
}

func TestFeed_ReturnsWhatIsNew(t *testing.T) {
	t.Parallel()
	var f Feed
	if all, missed, _ := f.Since(0); len(all) != 0 || missed != 0 {
		t.Errorf("of an empty feed: %v, %d", all, missed)
	}
	for i := range 3 {
		f.Add(Refusal{At: policy.Time(i), KeyID: "key_1"})
	}
	if all, missed, _ := f.Since(1); len(all) != 2 || all[0].Seq != 2 || all[1].Seq != 3 || all[1].At != 2 || missed != 0 {
		t.Errorf("after the first: %v, %d", all, missed)
	}
	if all, _, _ := f.Since(3); len(all) != 0 {
		t.Errorf("after the last: %v", all)
	}
	if all, missed, _ := f.Since(99); len(all) != 3 || missed != 0 {
		t.Errorf("after one of another process: %v, %d", numbers(all), missed)
	}
}

func TestFeed_SaysHowManyAReaderHasMissed(t *testing.T) {
	t.Parallel()
	var f Feed
	for range Size + 10 {
		f.Add(Refusal{})
	}
	all, missed, _ := f.Since(2)
	if len(all) != Size || all[0].Seq != 11 || all[Size-1].Seq != Size+10 || missed != 8 {
		t.Errorf("%d refusals from %v on, %d missed", len(all), numbers(all[:1]), missed)
	}
}

// A reader gets each refusal once and in order, or learns that it has missed it.
func TestFeed_LosesNothingUnsaid(t *testing.T) {
	t.Parallel()
	var f Feed
	const writers, each = 8, 5000
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				f.Add(Refusal{})
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var last, got, missed uint64
	for over := false; ; {
		all, m, at := f.Since(last)
		missed += m
		for _, r := range all {
			if r.Seq <= last {
				t.Fatalf("number %d after %d", r.Seq, last)
			}
			last = r.Seq
		}
		last = at
		got += uint64(len(all))
		if over {
			break
		}
		select {
		case <-done:
			over = true
		default:
		}
	}
	if got+missed != writers*each || last != writers*each {
		t.Errorf("%d read and %d missed, of %d; the last is %d", got, missed, writers*each, last)
	}
}

// A goroutine can wait between taking a number and storing its refusal, while others store theirs.
func TestFeed_ALateRefusalReplacesNoNewerOne(t *testing.T) {
	t.Parallel()
	var f Feed
	late := Refusal{Seq: f.last.Add(1)}
	for range Size {
		f.Add(Refusal{})
	}
	f.put(&late)
	all, missed, at := f.Since(1)
	if len(all) != Size || missed != 0 || at != Size+1 {
		t.Errorf("%d refusals up to number %d, %d missed", len(all), at, missed)
	}
}

func TestFeed_IsWantedUntilEachReaderIsDone(t *testing.T) {
	t.Parallel()
	var f Feed
	one, two := f.Want(), f.Want()
	one()
	one()
	if !f.Wanted() {
		t.Error("it is not wanted, though one reader is left")
	}
	two()
	if f.Wanted() {
		t.Error("it is wanted by nobody")
	}
}

func BenchmarkAdd(b *testing.B) {
	var f Feed
	b.ReportAllocs()
	for b.Loop() {
		f.Add(Refusal{KeyID: "key_aDjXNgFuCELQo14x2SE4"})
	}
}
