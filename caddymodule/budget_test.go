package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
)

// unavailableBody is the answer to an upload if there is no memory for its head.
const unavailableBody = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"?","message":"service temporarily unavailable"}` + "\r\n"

// slowHead is the detail in the log about a head that came too slowly.
const slowHead = "the head of the form, or the start command, came too slowly: it has 30 seconds, and one more for each 8 KiB"

// startForm sends the beginning of a form: size bytes of its part d, which does not end. The
// gateway can end the connection meanwhile.
func (g *gateway) startForm(t *testing.T, query string, size int) net.Conn {
	t.Helper()
	conn := g.dial(t)
	_, err := fmt.Fprintf(conn, "POST /v1/recognize%s HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 100000000\r\n\r\n"+
		"--B\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\n", query, g.addr)
	if err != nil {
		t.Errorf("beginning the form: %v", err)
	}
	_, _ = io.Copy(conn, io.LimitReader(letters{}, int64(size)))
	return conn
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// heads returns the memory that the heads of forms share.
func (g *gateway) heads() *headbudget.Memory { return g.app().HeadBudget().Memory }

// headBytes returns how many bytes the heads of forms hold.
func (g *gateway) headBytes() int64 {
	held, _ := g.heads().Held()
	return held
}

func (g *gateway) nothingHeld() bool {
	held, requests := g.heads().Held()
	return held == 0 && requests == 0
}

func wantNoMemory(t *testing.T, conn net.Conn) {
	t.Helper()
	if got := readReplyTo(t, http.MethodPost, conn); got.status != http.StatusServiceUnavailable ||
		got.body != unavailableBody || got.header.Get("Retry-After") != "5" || got.header.Get("X-Session-ID") == "" {
		t.Errorf("status %d, header %v, body %q", got.status, got.header, got.body)
	}
}

// Slow forms without a key need more memory than there is. Requests with good keys are served
// meanwhile, in every place of a key, and the forms beyond the bound get 503.
func TestR21_SlowFormsLockNobodyOut(t *testing.T) {
	const forms, size, most = 200, 512 << 10, 8 << 20
	g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, global: "max_heads 8MiB"})
	_, secret := g.issue(keystore.NewKey{})
	before := heapInUse()
	conns := make([]net.Conn, forms)
	var starting sync.WaitGroup
	for i := range conns {
		starting.Go(func() { conns[i] = g.startForm(t, "", size) })
	}
	starting.Wait()
	started := time.Now()
	holdsSoon(t, "forms are held", func() bool {
		held := g.headBytes()
		if held > most {
			t.Fatalf("%d bytes are held", held)
		}
		return held > size
	})
	if grown := heapInUse() - before; grown > 4*most {
		t.Errorf("%d forms of %d bytes take %d MiB", forms, size, grown>>20)
	}
	holdsSoon(t, "the forms are older than the time for which they are safe", func() bool {
		return time.Since(started) > time.Second
	})

	words := "grammarFileNames=-a-general profileWords=" + strings.Repeat("word", 20_000) // 1,000 words
	for name, request := range map[string]string{
		"a large head":                    g.form("/v1/recognize", [2]string{"d", words}, [2]string{"u", secret}, [2]string{"a", audio}),
		"a small head":                    g.form("/v1/recognize", [2]string{"d", "-a-general"}, [2]string{"u", secret}, [2]string{"a", audio}),
		"a large head, and a key outside": g.form("/v1/recognize?u="+secret, [2]string{"d", words}, [2]string{"a", audio}),
	} {
		begun := time.Now()
		if got := g.send(request); got.status != http.StatusOK || !strings.Contains(got.body, "hello") {
			t.Errorf("%s: status %d, body %q", name, got.status, got.body)
		}
		if took := time.Since(begun); took > soon { // a form that is held gives its memory back after 30 seconds or more
			t.Errorf("%s: it took %v", name, took)
		}
	}
	var refused atomic.Int64
	var reading sync.WaitGroup
	for _, conn := range conns {
		reading.Go(func() {
			if _, err := bufio.NewReader(io.LimitReader(conn, 1)).Peek(1); err == nil {
				refused.Add(1)
			}
		})
	}
	holdsSoon(t, "all forms but those that fit are refused", func() bool { return refused.Load() >= forms-most/size })
	var later []net.Conn
	for range most / size { // these forms end the oldest reservations
		later = append(later, g.startForm(t, "", size))
	}
	holdsSoon(t, "the log says why", func() bool {
		log := g.log()
		return int64(strings.Count(log, `"reason":"limit_reached"`)) >= refused.Load() && strings.Contains(log, "all of max_heads is held, and the head of this form, or this start command, was the oldest: it made room for another")
	})
	for _, conn := range slices.Concat(conns, later) {
		_ = conn.Close()
	}
	reading.Wait()
	holdsSoon(t, "everything is given back", g.nothingHeld)
}

func heapInUse() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapInuse)
}

// If the memory for heads is full, only requests with a large head and without a valid key
// outside of it are refused.
func TestR21_AFullMemoryRefusesNoKeyOutsideOfForms(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{})
	fillMemory(t, g)
	large := strings.Repeat("x", 100_000)
	for name, request := range map[string]string{
		"in the query":      g.form("/v1/recognize?u="+secret, [2]string{"d", large}, [2]string{"a", audio}),
		"in a small form":   g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"d", large[:3000]}, [2]string{"a", audio}),
		"behind a raw body": "POST /v1/recognize?u=" + secret + " HTTP/1.1\r\nHost: " + g.addr + "\r\nContent-Length: 100000\r\n\r\n" + large,
	} {
		if got := g.send(request); got.status != http.StatusOK || !strings.Contains(got.body, "hello") {
			t.Errorf("%s: status %d, body %q", name, got.status, got.body)
		}
	}
	conn := g.dial(t)
	if _, err := io.WriteString(conn, g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"d", large}, [2]string{"a", strings.Repeat("\x00", 1<<20)})); err != nil {
		t.Fatalf("the upload was cut: %v", err)
	}
	wantNoMemory(t, conn)
	if log := g.log(); !strings.Contains(log, `"reason":"limit_reached"`) || !strings.Contains(log, "the forms of other requests hold all of max_heads") {
		t.Error("the log does not say why")
	}
}

// fillMemory reserves the whole memory for heads until the test ends.
func fillMemory(t *testing.T, g *gateway) {
	t.Helper()
	full := (&headbudget.Budget{Memory: g.heads(), Max: headbudget.DefaultLimit}).NewReservation(time.Now().Add(time.Hour), func() { t.Error("the newest was cut") })
	if !full.Reserve(headbudget.DefaultLimit) {
		t.Fatal("the memory is not empty")
	}
	t.Cleanup(func() {
		full.Release(headbudget.DefaultLimit)
		holdsSoon(t, "everything is given back", g.nothingHeld)
	})
}

// Long start commands count in the memory for heads. Short start commands are always read.
func TestR21_LongStartCommandsShareTheMemoryOfForms(t *testing.T) {
	g := streamGateway(t, "")
	_, key := g.issue(keystore.NewKey{})
	words := "s 16K -a-general profileWords=\"" + strings.Repeat("word", 25_000) + "\" authorization=" + key
	c := g.dialStream("").upgraded()
	c.text("%s", words)
	c.WantText("s")
	_ = c.Close()

	holdsSoon(t, "everything is given back", g.nothingHeld)
	fillMemory(t, g)
	c = g.dialStream("").upgraded()
	c.start(key)
	c.WantText("s")
	_ = c.Close()
	c = g.dialStream("").upgraded()
	frame := wstest.RawText(words)
	if _, err := c.Write(frame[:len(frame)/2]); err != nil {
		t.Fatal(err)
	}
	c.WantText("s can't connect to recognizer server")
	c.wantEnd()
	holdsSoon(t, "the log says why", func() bool { return strings.Contains(g.log(), `"reason":"limit_reached"`) })
}

func TestR21_AStreamThatLosesItsMemoryIsLogged(t *testing.T) {
	g := streamGateway(t, "")
	_, key := g.issue(keystore.NewKey{})
	words := "s 16K -a-general profileWords=\"" + strings.Repeat("word", 25_000) + "\" authorization=" + key
	c := g.dialStream("").upgraded()
	frame := wstest.RawText(words)
	if _, err := c.Write(frame[:len(frame)/2]); err != nil {
		t.Fatal(err)
	}
	holdsSoon(t, "the command is read", func() bool { return g.headBytes() > 20_000 })
	g.heads().Expire(time.Now().Add(time.Hour))
	c.WantText("s can't connect to recognizer server")
	c.wantEnd()
	holdsSoon(t, "the log says why", func() bool {
		log := g.log()
		return strings.Contains(log, `"reason":"limit_reached"`) && strings.Contains(log, slowHead)
	})
}

// The reservation of a form ends while its client goes on sending. The client reads the answer
// afterwards.
func TestR16_ARefusalWithoutMemoryReachesAClientThatSends(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	const size = 400_000
	conn := g.startForm(t, "", size)
	holdsSoon(t, "the form is read", func() bool { return g.headBytes() > size })
	g.heads().Expire(time.Now().Add(time.Hour))
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for range 60 { // longer than the deadline for the last read
		if _, err := io.WriteString(conn, strings.Repeat("x", 3200)); err != nil {
			t.Fatalf("the upload was cut: %v", err)
		}
		<-tick.C
	}
	wantNoMemory(t, conn)
}

func TestR21_AHeadThatComesTooSlowlyIsRefused(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	const size = 40_000
	conn := g.startForm(t, "", size)
	holdsSoon(t, "the form is read", func() bool { return g.headBytes() > size })
	held := g.headBytes()
	if held > 2*size {
		t.Errorf("%d bytes are held for a head of %d", held, size)
	}
	limit := 30*time.Second + time.Duration(held/(8<<10))*time.Second
	if g.heads().Expire(time.Now().Add(limit - time.Second)); g.nothingHeld() {
		t.Fatal("it was refused too soon")
	}
	g.heads().Expire(time.Now().Add(limit + time.Second))
	wantNoMemory(t, conn)
	if log := g.log(); !strings.Contains(log, slowHead) {
		t.Error("the log does not say why")
	}
	holdsSoon(t, "everything is given back", g.nothingHeld)
}

// A form gives its memory back if its client goes away, if it is refused, and if it is let
// through.
func TestR21_AFormGivesItsMemoryBack(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey+"\nmax_head 64KiB")
	_, secret := g.issue(keystore.NewKey{})
	large := strings.Repeat("x", 30_000)
	conn := g.startForm(t, "", 20_000)
	holdsSoon(t, "the form is read", func() bool { return g.headBytes() > 20_000 })
	_ = conn.Close()
	holdsSoon(t, "the memory of a client that has gone is given back", g.nothingHeld)
	for name, key := range map[string]string{"a good key": secret, "a bad key": "nobody"} {
		g.send(g.form("/v1/recognize", [2]string{"d", large}, [2]string{"u", key}, [2]string{"a", audio}))
		if !g.nothingHeld() {
			t.Errorf("%s: the memory is not given back", name)
		}
	}
	tooLarge := g.send(g.form("/v1/recognize", [2]string{"d", strings.Repeat(large, 3)}, [2]string{"u", secret}, [2]string{"a", audio}))
	if tooLarge.status != http.StatusOK || tooLarge.body != unreadableBody {
		t.Errorf("a head that is too large: status %d, body %q", tooLarge.status, tooLarge.body)
	}
	if !g.nothingHeld() {
		t.Error("the memory of a head that is too large is not given back")
	}
}

// The manual of the API allows 1,000 inline words in a form, which take 81 KB. Ten times as many
// fit by default.
func TestR19_LongListsOfInlineWordsFitByDefault(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{})
	for _, number := range []int{1_000, 10_000} {
		var d strings.Builder
		d.WriteString("grammarFileNames=-a-general profileWords=")
		for i := range number {
			fmt.Fprintf(&d, "%%E5%%8D%%98%%E8%%AA%%9E%d%%20%%E3%%81%%9F%%E3%%82%%93%%E3%%81%%94%d%%7C", i, i)
		}
		got := g.send(g.form("/v1/recognize", [2]string{"d", d.String()}, [2]string{"u", secret}, [2]string{"a", audio}))
		if got.status != http.StatusOK || !strings.Contains(got.body, "hello") {
			t.Errorf("%d words, %d bytes: status %d, body %q", number, d.Len(), got.status, got.body)
		}
		if sent := g.backend.received(); !strings.Contains(sent, d.String()) {
			t.Errorf("%d words did not go upstream as they are", number)
		}
	}
}
