package stream_test

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/internal/stream"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

// awaiting returns a client, and a guard whose caller waits for the first start command.
// The channel gets what WaitAuthorized returns.
func awaiting(t *testing.T, change func(*settings), early ...[]byte) (r *rig, awaited chan bool) {
	t.Helper()
	r = &rig{t: t}
	cfg := r.config()
	if change != nil {
		change(&cfg)
	}
	client, inner := wstest.Pipe()
	r.client = wstest.NewPeer(t, client)
	r.guard = cfg.guard()
	brw := bufio.NewReadWriter(bufio.NewReader(inner), bufio.NewWriter(inner))
	if all := slices.Concat(early...); len(all) > 0 {
		r.send(all)
		if _, err := brw.Peek(len(all)); err != nil {
			t.Fatal(err)
		}
	}
	conn, _ := r.guard.Wrap(inner, brw)
	awaited = make(chan bool, 1)
	go func() {
		ok := r.guard.WaitAuthorized()
		if ok {
			r.proxied = conn
		}
		awaited <- ok
	}()
	t.Cleanup(r.guard.Close)
	return r, awaited
}

func TestR21_AwaitReturnsWithAnAuthorizedStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		long := startText + " x=" + strings.Repeat("y", 5000)
		all := slices.Concat(wstest.RawText(long), audio("one"), wstest.Raw(0x89, nil, 0, nil), wstest.RawText("e"))
		want := slices.Concat(wstest.RawText(strings.Replace(long, clientKey, upstreamKey, 1)), audio("one"), wstest.Raw(0x89, nil, 0, nil), wstest.RawText("e"))
		for at := 0; at < len(all); at += 13 {
			r, awaited := awaiting(t, nil, all[:min(at, 4000)])
			r.send(all[min(at, 4000):])
			if !<-awaited {
				t.Fatalf("cut at %d: the stream has ended", at)
			}
			sent := make([]byte, len(want))
			if _, err := io.ReadFull(r.proxied, sent); err != nil || !bytes.Equal(sent, want) {
				t.Fatalf("cut at %d: the proxy reads %.300q, %v", at, sent, err)
			}
		}
	})
}

func TestR21_AwaitReturnsWhenTheStreamEnds(t *testing.T) {
	t.Parallel()
	quick := func(cfg *settings) { cfg.StartTime = 50 * time.Millisecond }
	for name, test := range map[string]struct {
		change func(*settings)
		do     func(*rig)
		told   []wstest.Frame
	}{
		"a key that is refused":         {nil, func(r *rig) { r.send(wstest.RawText("s authorization=OTHER")) }, []wstest.Frame{wstest.Text(denied)}},
		"a command that cannot be read": {nil, func(r *rig) { r.send(wstest.RawText("hello")) }, []wstest.Frame{wstest.Text(unreadable)}},
		"no command in time":            {quick, func(*rig) {}, []wstest.Frame{wstest.Text(timedOut)}},
		"a cut":                         {nil, func(r *rig) { r.guard.Cut("") }, []wstest.Frame{wstest.Text(cutText)}},
		"a failure":                     {nil, func(r *rig) { r.guard.Fail("s x") }, []wstest.Frame{wstest.Text("s x")}},
		"a client that goes":            {nil, func(r *rig) { r.client.Close() }, nil},
		"one that goes in a command":    {nil, func(r *rig) { r.send(startFrame[:9]); r.client.Close() }, nil},
		"one that closes":               {nil, func(r *rig) { r.send(wstest.Raw(0x88, mask, 0, []byte{3, 232})) }, []wstest.Frame{wstest.Of(true, 8, false, "\x03\xe8")}},
		"the caller's own wish":         {nil, func(r *rig) { r.guard.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, awaited := awaiting(t, test.change)
				test.do(r)
				r.wantClient(test.told...)
				if <-awaited {
					t.Error("the stream goes on")
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.closes != 1 || !r.guard.Ended() {
					t.Errorf("OnClose was called %d times", r.closes)
				}
			})
		})
	}
}

func TestR21_AFailureAfterTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, awaited := awaiting(t, nil)
		r.send(startFrame, audio("at once"))
		if !<-awaited {
			t.Fatal("the stream has ended")
		}
		r.guard.Fail(unreachable)
		r.wantClient(wstest.Text(unreachable), closed())
		if r.closes != 1 {
			t.Errorf("OnClose was called %d times", r.closes)
		}
		if n, err := r.proxied.Read(make([]byte, 10)); n > 0 || err == nil {
			t.Errorf("the proxy reads %d bytes, %v", n, err)
		}
	})
}

// budget is the memory for the first commands of all streams.
type budget struct {
	left  atomic.Int64
	most  int64
	empty atomic.Int32 // how often it was asked for no bytes
}

func newBudget(n int64) *budget { b := &budget{most: n}; b.left.Store(n); return b }

func (b *budget) into(cfg *settings) {
	cfg.Reserve = func(n int) bool {
		b.wantSome(n)
		if b.left.Add(-int64(n)) < 0 {
			b.left.Add(int64(n))
			return false
		}
		return true
	}
	cfg.Release = func(n int) { b.wantSome(n); b.left.Add(int64(n)) }
}

func (b *budget) wantSome(n int) {
	if n <= 0 {
		b.empty.Add(1)
	}
}

func (b *budget) wantAllBack(t *testing.T) {
	t.Helper()
	if left := b.left.Load(); left != b.most {
		t.Errorf("%d bytes of %d are left", left, b.most)
	}
	if n := b.empty.Load(); n != 0 {
		t.Errorf("it was asked for no bytes %d times", n)
	}
}

func TestR21_WhatIsHeldBeforeAKeyIsKnownIsReserved(t *testing.T) {
	t.Parallel()
	long := startText + " x=" + strings.Repeat("y", 200<<10)
	for name, pieces := range map[string][][]byte{"one frame": {wstest.RawText(long)}, "fragments": wstest.Fragments(1, mask, long, slices.Repeat([]int{4096}, 40)...)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(1 << 20)
				r, awaited := awaiting(t, b.into)
				r.send(slices.Concat(pieces...)[:100<<10])
				synctest.Wait()
				if reserved := b.most - b.left.Load(); reserved < 100<<10 {
					t.Fatalf("%d bytes are reserved for 100 KiB", reserved)
				}
				r.send(slices.Concat(pieces...)[100<<10:])
				if !<-awaited {
					t.Fatal("the stream has ended")
				}
				b.wantAllBack(t)
			})
		})
	}
	t.Run("given back where the client goes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(1 << 20)
			r, awaited := awaiting(t, b.into)
			r.send(wstest.RawText(long)[:50<<10])
			r.client.Close()
			if <-awaited {
				t.Error("the stream goes on")
			}
			b.wantAllBack(t)
		})
	})
	t.Run("given back where the stream ends meanwhile", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(1 << 20)
			var guard *stream.Guard
			r, awaited := awaiting(t, func(cfg *settings) {
				b.into(cfg)
				reserve := cfg.Reserve
				cfg.Reserve = func(n int) bool { guard.Close(); return reserve(n) }
			})
			guard = r.guard
			r.send(wstest.RawText(long))
			if <-awaited {
				t.Error("the stream goes on")
			}
			b.wantAllBack(t)
		})
	})
	t.Run("without a function that gets it back", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, awaited := awaiting(t, func(cfg *settings) { cfg.Reserve = func(int) bool { return true } })
			r.send(wstest.RawText(long))
			if !<-awaited {
				t.Error("the stream has ended")
			}
		})
	})
	t.Run("refused where nothing is left", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(64 << 10)
			r, awaited := awaiting(t, b.into)
			go r.client.Write(wstest.RawText(long))
			r.wantClient(wstest.Text(unreachable))
			if <-awaited {
				t.Error("the stream goes on")
			}
			r.wantRefused(policy.LimitReached, "too many bytes of commands are held for streams that have shown no key")
			b.wantAllBack(t)
		})
	})
	t.Run("free for short commands", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(0)
			r, awaited := awaiting(t, b.into)
			r.send(startFrame)
			if !<-awaited {
				t.Error("the stream has ended")
			}
			r.guard.Close()
			b.wantAllBack(t)
		})
	})
	t.Run("free after a key is known", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r, awaited := awaiting(t, newBudget(0).into)
			r.send(startFrame)
			<-awaited
			go r.client.Write(slices.Concat(wstest.RawText("e"), wstest.RawText(long)))
			want := slices.Concat(wstest.RawText(startSent), wstest.RawText("e"), wstest.RawText(strings.Replace(long, clientKey, upstreamKey, 1)))
			sent := make([]byte, len(want))
			if _, err := io.ReadFull(r.proxied, sent[:len(wstest.RawText(startSent))+3]); err != nil {
				t.Fatal(err)
			}
			r.proxied.Write(wstest.RawText("e"))
			if _, err := io.ReadFull(r.proxied, sent[len(wstest.RawText(startSent))+3:]); err != nil || !bytes.Equal(sent, want) {
				t.Errorf("the proxy reads %.300q, %v", sent, err)
			}
		})
	})
}
