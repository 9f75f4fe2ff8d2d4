package console

import (
	"strings"
	"testing"
	"time"
)

const pending = "The busiest keys are being added up."

// A page does not wait for a sum that takes long. A later page has it.
func TestUsage_DoesNotWaitForTheBusiestKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Sample")
	b := f.holder(a)
	f.console.busiest.wait = time.Millisecond
	f.console.busiest.slot <- struct{}{} // another sum is being added up
	b.want(b.get("usage"), 200, pending, "The numbers of each day")
	b.want(b.get("usage"), 200, pending)
	<-f.console.busiest.slot
	f.console.busiest.wait = time.Minute
	if got := b.want(b.get("usage"), 200); strings.Contains(got.body, pending) {
		t.Errorf("the page does not have the sum: %s", got.body)
	}
}

// A list is shown again for a hundred times as long as it took to add it up.
func TestUsage_AddsTheBusiestKeysUpAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.operatorBrowser("tanaka")
	b.want(b.get("usage"), 200)
	if n := len(f.console.busiest.lists); n != 1 {
		t.Fatalf("there are %d lists", n)
	}
	for _, l := range f.console.busiest.lists {
		if l.at != f.Now() || l.until <= l.at {
			t.Errorf("it was added up at %s, and lasts until %s", l.at, l.until)
		}
		l.until = f.Now().Add(2 * time.Minute) // as if it had taken a second
	}
	begun := f.Now()
	f.advance(time.Minute)
	b.want(b.get("usage"), 200)
	f.advance(time.Minute)
	b.want(b.get("usage"), 200)
	for _, l := range f.console.busiest.lists {
		if l.at != begun.Add(2*time.Minute) {
			t.Errorf("it was added up at %s", l.at)
		}
	}
}

// Each account has a list of its own, whatever it asks for.
func TestUsage_TheBusiestKeysAreOfTheReader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	one, two := f.account("One"), f.account("Two")
	ofOne, ofTwo, all := f.holder(one), f.holder(two), f.operatorBrowser("tanaka")
	for _, b := range []*browser{ofOne, ofTwo, all} {
		b.want(b.get("usage"), 200)
	}
	ofTwo.get("usage?account=" + one.ID) // of another account: refused, or the own one
	for of := range f.console.busiest.lists {
		if strings.HasSuffix(of.actor, two.ID) && of.account == one.ID {
			t.Errorf("the account has the list %+v", of)
		}
	}
	if n := len(f.console.busiest.lists); n != 3 {
		t.Errorf("there are %d lists for three readers", n)
	}
}

// The lists do not take more and more memory.
func TestUsage_KeepsFewListsOfTheBusiestKeys(t *testing.T) {
	t.Parallel()
	b := newBusiest()
	for days := range 3 * busiestKept {
		if l := b.list(busiestOf{days: days}); l == nil || l.known {
			t.Fatalf("the list is %+v", l)
		}
	}
	if n := len(b.lists); n != busiestKept {
		t.Errorf("%d lists are kept", n)
	}
}
