//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	rateTime    = 185 * time.Second       // how long the clients ask: three times the 61 seconds after which a place is free again
	rateClients = 64                      // for each key
	ratePause   = 100 * time.Millisecond  // of a client between two requests
	rateHeader  = "Speechgate-Bench-Rate" // a field of requests, with the number of the key
)

// rateLimits are the limits that are measured, in requests a minute. The clients ask for more.
var rateLimits = []int{60, 600, 6000}

// rate measures how exact limits of requests a minute are, for a key that always asks for more: how
// many requests come to the backend within 60 seconds at most, and how long one request more than
// the limit takes. A client waits up to ratePause longer than it must.
func (s *suite) rate() error {
	f, err := limitedKeys(s, rateLimits)
	if err != nil {
		return err
	}
	arrivals := &arrivals{begun: time.Now(), at: make([][]time.Duration, len(rateLimits))}
	listener, err := new(net.ListenConfig).Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	backend := &http.Server{Handler: arrivals, ReadHeaderTimeout: time.Minute}
	go func() { _ = backend.Serve(listener) }()
	defer func() { _ = backend.Close() }()
	p, err := s.start(gateSite(f), listener.Addr().String())
	if err != nil {
		return err
	}
	s.progress("rate: %s", rateTime)
	if err := askMore(p, f.keys); err != nil {
		return err
	}
	for i, limit := range rateLimits {
		name := fmt.Sprintf("rate, %d requests a minute, %d clients", limit, rateClients)
		got := arrivals.of(i)
		if len(got) <= limit {
			return fmt.Errorf("%s: only %d requests in %s", name, len(got), rateTime)
		}
		shortest, longest := rateTime, time.Duration(0)
		for j, at := range got[:len(got)-limit] {
			took := got[j+limit] - at
			shortest, longest = min(shortest, took), max(longest, took)
		}
		s.rows = append(s.rows,
			row{Case: name, Measure: "most in any 60 s", Unit: "requests", Gate: float64(mostWithin(got, time.Minute)), Pairs: 1, Target: float64(limit), AtMost: true, Absolute: true},
			row{Case: name, Measure: "one more than the limit, least time", Unit: "s", Gate: shortest.Seconds(), Pairs: 1, Target: 60, Absolute: true},
			row{Case: name, Measure: "one more than the limit, most time", Unit: "s", Gate: longest.Seconds(), Pairs: 1, Target: 61 + ratePause.Seconds() + 0.1, AtMost: true, Absolute: true})
	}
	return nil
}

// limitedKeys makes a keystore with a key for each limit.
func limitedKeys(s *suite, limits []int) (*fixture, error) {
	f := &fixture{path: filepath.Join(s.dir, "keystore-rate.db")}
	store, err := f.create(s.ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }()
	account, _, err := store.CreateAccount(s.ctx, now(), operator, "Bench")
	if err != nil {
		return nil, err
	}
	for _, limit := range limits {
		_, secret, err := store.IssueKey(s.ctx, now(), operator, keystore.NewKey{
			AccountID: account.ID, Origin: policy.OriginConsole, Expires: policy.Never(), Limits: policy.Limits{Requests: uint32(limit)},
		})
		if err != nil {
			return nil, err
		}
		f.keys = append(f.keys, secret.Reveal())
	}
	return f, nil
}

// arrivals is a backend that notes when requests arrive.
type arrivals struct {
	begun time.Time
	mu    sync.Mutex
	at    [][]time.Duration // since begun, by key
}

// ServeHTTP notes a request.
func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Since(a.begun)
	var key int
	if _, err := fmt.Sscan(r.Header.Get(rateHeader), &key); err != nil || key >= len(a.at) {
		http.Error(w, "no key", http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	a.at[key] = append(a.at[key], at)
	a.mu.Unlock()
	_, _ = io.WriteString(w, "{}")
}

// of returns the arrivals of the requests of a key, in order.
func (a *arrivals) of(key int) []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.at[key])
	return a.at[key]
}

// mostWithin returns how many of the instants are within a span of time at most.
func mostWithin(at []time.Duration, span time.Duration) (most int) {
	first := 0
	for i := range at {
		for at[i]-at[first] >= span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// askMore asks with each key, until rateTime has passed. Every answer must be the backend's, or the
// refusal of a limit.
func askMore(p *proxy, keys []string) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: rateClients * len(keys)}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	end := time.Now().Add(rateTime)
	failed := make([]error, rateClients*len(keys))
	var clients sync.WaitGroup
	for i := range failed {
		clients.Go(func() {
			time.Sleep(ratePause * time.Duration(i) / time.Duration(len(failed))) // so that they do not ask all at once
			for time.Now().Before(end) && failed[i] == nil {
				failed[i] = askOnce(client, p, keys[i%len(keys)], i%len(keys))
				time.Sleep(ratePause)
			}
		})
	}
	clients.Wait()
	return errors.Join(failed...)
}

func askOnce(client *http.Client, p *proxy, secret string, key int) error {
	r, err := http.NewRequest(http.MethodPost, "http://"+p.addr+"/v1/recognize?u="+secret, http.NoBody) //nolint:noctx // the client has a timeout
	if err != nil {
		return err
	}
	r.Header.Set(rateHeader, strconv.Itoa(key))
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("the gate answers with %s", resp.Status)
	}
	return err
}
