//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

const (
	consoleTimes    = 10    // how many times the keys in use one account of the large keystore has
	consoleAccounts = 1_000 // in the large keystore
	fewKeys         = 1_000 // in one account of the small keystore
	fewAccounts     = 100   // in the small keystore: two pages of a list

	memoryPages = 75 // page loads between two looks at the memory, for each pair of runs
	usedPages   = 2  // page loads a second while the console is in use beside polls
)

// consolePage is a page of the console.
type consolePage struct {
	name     string
	operator bool // the page is for operators
	path     string
	form     url.Values // the page answers to this form; nil for a GET
}

// pages returns the pages that are measured.
func (f *consoleFixture) pages() []consolePage {
	explain := url.Values{"key": {f.key}, "client-ip": {"192.0.2.7"}, "method": {"POST"}, "path": {"/v1/recognize"}, "dialect": {"amivoice"}}
	return []consolePage{
		{"holder: connection", false, "", nil},
		{"holder: keys", false, "keys", nil},
		{"holder: keys, last page", false, "keys?cursor=" + f.lastOwn, nil},
		{"holder: keys, revoked only", false, "keys?status=revoked", nil},
		{"holder: keys, suspended only", false, "keys?status=suspended", nil},
		{"holder: keys by label", false, "keys?sort=label", nil},
		{"holder: keys by expiry", false, "keys?sort=expiry", nil},
		{"holder: keys by last use", false, "keys?sort=last_use", nil},
		{"holder: search, beginning of a label", false, "keys?search=terminal+1", nil},
		{"holder: search, middle of a label", false, "keys?search=floor+3", nil},
		{"holder: search, nothing found", false, "keys?search=nothing", nil},
		{"holder: search, beginning of an ID", false, "keys?search=key_", nil},
		{"holder: key", false, "keys/" + f.key, nil},
		{"holder: form of a new key", false, "keys/new", nil},
		{"holder: jobs", false, "jobs", nil},
		{"holder: usage", false, "usage", nil},
		{"holder: explain", false, "explain", explain},
		{"holder: settings", false, "settings", nil},

		{"operator: overview", true, "", nil},
		{"operator: accounts", true, "operator/accounts", nil},
		{"operator: accounts, last page", true, "operator/accounts?cursor=" + f.lastUser, nil},
		{"operator: accounts, search", true, "operator/accounts?search=customer", nil},
		{"operator: account with most keys", true, "operator/accounts/" + f.account, nil},
		{"operator: account with one key", true, "operator/accounts/" + f.other, nil},
		{"operator: form of a new account", true, "operator/accounts/new", nil},
		{"operator: keys", true, "operator/keys", nil},
		{"operator: keys, last page", true, "operator/keys?cursor=" + f.lastAll, nil},
		{"operator: keys, revoked only", true, "operator/keys?status=revoked", nil},
		{"operator: keys by label", true, "operator/keys?sort=label", nil},
		{"operator: keys by expiry", true, "operator/keys?sort=expiry", nil},
		{"operator: keys by last use", true, "operator/keys?sort=last_use", nil},
		{"operator: search, beginning of a label", true, "operator/keys?search=terminal+1", nil},
		{"operator: search, middle of a label", true, "operator/keys?search=floor+3", nil},
		{"operator: search, nothing found", true, "operator/keys?search=nothing", nil},
		{"operator: key", true, "operator/keys/" + f.key, nil},
		{"operator: leaked", true, "operator/leaked", url.Values{"key": {f.keys[0]}}},
		{"operator: forecast, 90 days", true, "operator/forecast?within=90d", nil},
		{"operator: forecast of an account, 90 days", true, "operator/forecast?within=90d&account=" + f.account, nil},
		{"operator: streams", true, "operator/streams", nil},
		{"operator: jobs", true, "operator/jobs", nil},
		{"operator: jobs of an account", true, "operator/jobs?account=" + f.other, nil},
		{"operator: jobs on grace", true, "operator/grace", nil},
		{"operator: refusals", true, "operator/refusals", nil},
		{"operator: usage", true, "usage", nil},
		{"operator: usage of a key, 90 days", true, "usage?days=90&account=" + f.account + "&key=" + f.key, nil},
		{"operator: explain", true, "operator/explain", explain},
		{"operator: audit trail", true, "operator/audit", nil},
		{"operator: audit trail of an account", true, "operator/audit?account=" + f.other, nil},
		{"operator: audit trail of a day", true, "operator/audit?since=24h", nil},
		{"operator: health", true, "operator/health", nil},
	}
}

// consoleServer is a gate with a console whose users are signed in.
type consoleServer struct {
	*consoleFixture
	*proxy

	holder, operator string // the header lines with their cookies
	used             int    // page loads by use
}

// startConsole starts a gate with a console.
func (s *suite) startConsole(f *consoleFixture) (c *consoleServer, err error) {
	site := gateSite(&f.fixture)
	site.before = "speechgate_console " + consolePath + "\n\t" + site.before
	c = &consoleServer{consoleFixture: f}
	if c.proxy, err = s.start(site, s.loop.addr); err != nil {
		return nil, err
	}
	if c.holder, err = f.signIn(s.ctx, c.proxy, keystore.ActorAccount, f.account); err != nil {
		return nil, err
	}
	c.operator, err = f.signIn(s.ctx, c.proxy, keystore.ActorOperator, operatorName)
	return c, err
}

// request returns the request for a page.
func (c *consoleServer) request(page *consolePage) []byte {
	cookie := c.holder
	if page.operator {
		cookie = c.operator
	}
	method, end := http.MethodGet, "\r\n"
	if page.form != nil {
		body := page.form.Encode()
		method = http.MethodPost
		end = "Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	return []byte(method + " " + consolePath + page.path + " HTTP/1.1\r\n" + hostLine + cookie + end)
}

// ownPage is the class of requests that the proxy answers itself.
var ownPage = class{status: http.StatusOK}

// load loads a page again and again, and returns the result.
func (s *suite) load(c *consoleServer, page *consolePage, length time.Duration) (*result, error) {
	return s.play(c.proxy, plan{conns: 1, next: once(c.request(page)), classes: []class{ownPage}, length: length})
}

// console measures the pages of the console with a thousand accounts and many keys, most of them in one
// account, and with a thousand keys. It also measures the memory, and polls beside the use of the console.
func (s *suite) console() error {
	small, err := fillConsole(s.ctx, s.dir, fewKeys, fewAccounts, fewKeys, s.progress)
	if err != nil {
		return err
	}
	large, err := fillConsole(s.ctx, s.dir, consoleTimes*s.keys, consoleAccounts, s.keys, s.progress)
	if err != nil {
		return err
	}
	few, err := s.startConsole(small)
	if err != nil {
		return err
	}
	many, err := s.startConsole(large)
	if err != nil {
		return err
	}
	if err := s.consolePages(few, many); err != nil {
		return err
	}
	if err := s.consoleMemory(many); err != nil {
		return err
	}
	return s.pollsBesideConsole(many)
}

// consolePages compares each page with many keys and with few. The target of the rows with the median is
// a ratio, and their two figures are those of few keys and of many.
func (s *suite) consolePages(few, many *consoleServer) error {
	fewPages, manyPages := few.pages(), many.pages()
	slowest, name := 0.0, ""
	for i := range manyPages {
		var all []time.Duration
		run := func(c *consoleServer, page *consolePage) func() (sample, error) {
			return func() (sample, error) {
				r, err := s.load(c, page, s.length)
				if err != nil {
					return nil, err
				}
				if c == many {
					all = append(all, r.latencies[0]...)
				}
				return sample{"median": r.percentile(0.5) / 1e3, "CPU for each": r.cpu.Seconds() * 1e3 / float64(max(1, r.requests))}, nil
			}
		}
		for _, first := range []func() (sample, error){run(few, &fewPages[i]), run(many, &manyPages[i])} { // the caches of the database
			if _, err := first(); err != nil {
				return fmt.Errorf("%s: %w", manyPages[i].name, err)
			}
		}
		all = nil
		err := s.compare(manyPages[i].name, max(1, s.pairs/4), run(few, &fewPages[i]), run(many, &manyPages[i]),
			measure{name: "median", unit: "ms", target: 1.2, atMost: true}, measure{name: "CPU for each", unit: "ms"})
		if err != nil {
			return err
		}
		if median := s.rows[len(s.rows)-2].Gate; median > slowest {
			slowest, name = median, manyPages[i].name
		}
		slices.Sort(all)
		s.rows = append(s.rows, row{
			Case: manyPages[i].name, Measure: fmt.Sprintf("p99 of %d", len(all)), Unit: "ms", Pairs: max(1, s.pairs/4), Target: 100, AtMost: true, Absolute: true,
			Gate: float64(all[min(len(all)-1, len(all)*99/100)].Nanoseconds()) / 1e6,
		})
	}
	s.rows = append(s.rows, row{Case: "console, slowest page: " + name, Measure: "median", Unit: "ms", Gate: slowest, Pairs: max(1, s.pairs/4), Target: 30, AtMost: true, Absolute: true})
	return nil
}

// consoleMemory looks at the memory of a server before and after many page loads.
func (s *suite) consoleMemory(c *consoleServer) error {
	pages := c.pages()
	n := 0
	load := func() (sample, error) {
		next := func([]byte) ([]byte, int) {
			n++
			return c.request(&pages[n%len(pages)]), 0
		}
		for until := n + memoryPages*s.pairs; n < until; {
			s.progress("console, memory: %d page loads", n)
			if _, err := s.play(c.proxy, plan{conns: 4, next: next, classes: []class{ownPage}, length: time.Second}); err != nil {
				return nil, err
			}
		}
		live, err := c.liveMemory()
		if err != nil {
			return nil, err
		}
		held, err := c.memory("VmRSS")
		return sample{"resident memory": held, "live memory of Go": live / (1 << 20)}, err
	}
	var seen []sample
	for range 3 { // the first one fills caches
		got, err := load()
		if err != nil {
			return err
		}
		seen = append(seen, got)
	}
	for _, name := range []string{"resident memory", "live memory of Go"} {
		before, after := seen[1][name], seen[2][name]
		s.rows = append(s.rows, row{
			Case: fmt.Sprintf("console, %d more page loads", memoryPages*s.pairs), Measure: name, Unit: "MiB, before and after", Plain: before, Gate: after,
			Ratio: after / before, Low: after / before, High: after / before, Pairs: 1, Target: 1.05, AtMost: true,
		})
	}
	return nil
}

// pollsBesideConsole compares polls while users are at the console with polls without users. The
// CPU time of the pages counts as that of the polls.
func (s *suite) pollsBesideConsole(c *consoleServer) error {
	if err := s.warm(c.proxy, &c.fixture); err != nil {
		return err
	}
	run := func() (sample, error) {
		r, err := s.play(c.proxy, plan{conns: smallConns, next: c.poll, classes: []class{answered}, length: 2 * s.length})
		if err != nil {
			return nil, err
		}
		return sample{"CPU per request": r.cpuEach(), "throughput": r.perSecond()}, nil
	}
	beside := func() (sample, error) {
		stop := c.use(s.ctx)
		got, err := run()
		return got, errors.Join(err, stop())
	}
	return s.compare(fmt.Sprintf("poll, %d pages a second beside it", usedPages), s.pairs, run, beside, cpuAtMost(1.02), throughputAtLeast(0))
}

// use loads pages, one after the other, and has the refusals of the server shown as they happen.
// Stop ends it.
func (c *consoleServer) use(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() {
		ended <- c.get(ctx, &consolePage{"refusals as they happen", true, "operator/refusals/events", nil})
	}()
	go func() {
		pages := c.pages()
		tick := time.NewTicker(time.Second / usedPages)
		defer tick.Stop()
		for {
			if err := c.get(ctx, &pages[c.used%len(pages)]); err != nil {
				ended <- err
				return
			}
			c.used++
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-tick.C:
			}
		}
	}()
	return func() error {
		cancel()
		return errors.Join(<-ended, <-ended)
	}
}

// get loads a page. It is no error if the context ends meanwhile.
func (c *consoleServer) get(ctx context.Context, page *consolePage) (err error) {
	defer func() {
		if errors.Is(err, context.Canceled) {
			err = nil
		}
	}()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(c.request(page))))
	if err != nil {
		return err
	}
	r.URL.Scheme, r.URL.Host, r.RequestURI = "http", c.addr, ""
	resp, err := http.DefaultClient.Do(r.WithContext(ctx))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", page.name, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
