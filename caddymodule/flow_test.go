package caddymodule_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

func TestUploadStreamsInFlatMemory(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{})
	size := 256 << 20
	if os.Getenv("SPEECHGATE_NIGHTLY") != "" {
		size = 2 << 30
	}
	firstByte := make(chan struct{})
	var once sync.Once
	var received atomic.Int64
	g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1<<16)
		for {
			n, err := r.Body.Read(buf)
			if received.Add(int64(n)) > 0 {
				once.Do(func() { close(firstByte) })
			}
			if err != nil {
				break
			}
		}
		_, _ = fmt.Fprint(w, received.Load())
	})
	g.backend.forget.Store(true)

	head := "--B\r\nContent-Disposition: form-data; name=\"u\"\r\n\r\n" + secret +
		"\r\n--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"
	const tail = "\r\n--B--\r\n"
	conn := g.dial(t)
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	if _, err := fmt.Fprintf(conn, "POST /v1/recognize HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: %d\r\n\r\n%s",
		g.addr, len(head)+size+len(tail), head+"first audio"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-firstByte:
	case <-time.After(soon):
		t.Fatal("nothing has reached the backend before the upload ended")
	}

	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if _, err := io.Copy(conn, io.LimitReader(zeros{}, int64(size-len("first audio")-1))); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&during)
	if _, err := io.WriteString(conn, "\x00"+tail); err != nil {
		t.Fatal(err)
	}
	got := readReply(t, conn)
	if want := fmt.Sprint(len(head) - len(secret) + len(backendKey) + size + len(tail)); got.body != want {
		t.Errorf("the backend counted %q bytes, want %s", got.body, want)
	}
	if grown := int64(during.Sys) - int64(before.Sys); grown > 32<<20 {
		t.Errorf("memory grew by %d MiB during the upload", grown>>20)
	}
}

func TestReloadUnderLoadLosesNoRequest(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	reloaded := make(chan struct{})
	var ids atomic.Int64
	g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case r.URL.Path == "/v2/recognitions": // runs across all reloads
			<-reloaded
			fallthrough
		case r.Method == http.MethodPost:
			_, _ = fmt.Fprintf(w, `{"sessionid":"job-%d"}`, ids.Add(1))
		default:
			_, _ = io.WriteString(w, `{"status":"queued"}`)
		}
	})
	form := func(path string) string {
		return g.form(path, [2]string{"u", secret}, [2]string{"a", audio})
	}
	// The key of this request comes after the reloads. The request is sent first, so that the
	// gate has it when the next one has reached the backend.
	late := g.dial(t)
	lateForm := form("/v1/recognitions")
	const sentBefore = 400
	if _, err := io.WriteString(late, lateForm[:sentBefore]); err != nil {
		t.Fatal(err)
	}
	slow := g.dial(t)
	if _, err := io.WriteString(slow, form("/v2/recognitions")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return strings.Contains(g.backend.received(), backendKey) })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var done, lost atomic.Int64
	for worker := range 8 {
		load.Go(func() {
			for ctx.Err() == nil {
				request := form("/v1/recognitions")
				if worker%4 != 0 {
					request = "GET /v1/recognitions/j HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nAuthorization: Bearer " + secret + "\r\n\r\n"
				}
				answer, err := g.try(request)
				if err != nil && answer == "" {
					// The kernel had accepted the connection for the old listener. Caddy
					// without the gate loses such connections, too. The request was not
					// read.
					lost.Add(1)
					continue
				}
				if err != nil || !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(strings.TrimRight(answer, "\r\n0"), "}") {
					t.Errorf("after %d requests: %q, %v", done.Load(), answer, err)
					return
				}
				done.Add(1)
			}
		})
	}
	stores := []*keystore.Store{serverStore(t)}
	for i := range 10 {
		// Some reloads change settings of the store, so that the old store is closed meanwhile.
		g.global = fmt.Sprintf("max_staleness %ds", 5+i%2)
		g.load()
		stores = append(stores, serverStore(t))
		at := done.Load()
		eventually(t, func() bool { return done.Load() > at+20 })
	}
	stop()
	load.Wait()

	if lost.Load()*10 > done.Load() {
		t.Errorf("%d connections were lost, and %d requests answered", lost.Load(), done.Load())
	}
	// The requests that are running hold the first store.
	for _, old := range stores[1 : len(stores)-1] {
		holdsSoon(t, "a store that no request holds is closed", func() bool { return isClosed(t, old) })
	}
	if _, err := io.WriteString(late, lateForm[sentBefore:]); err != nil {
		t.Fatal(err)
	}
	if got := readReply(t, late); got.status != http.StatusOK {
		t.Errorf("the request that began before the reloads: status %d, body %q", got.status, got.body)
	}
	close(reloaded)
	got := readReply(t, slow)
	if got.status != http.StatusOK {
		t.Errorf("the request that ran across the reloads: status %d, body %q", got.status, got.body)
	}
	jobs, _, err := g.keys.Jobs(t.Context(), keystore.JobList{AccountID: g.account.ID})
	if err != nil || int64(len(jobs)) != ids.Load()+1 {
		t.Errorf("%d jobs are recorded (%v), and the backend made %d", len(jobs)-1, err, ids.Load())
	}
}

// try is send for a connection that may break.
func (g *gateway) try(request string) (string, error) {
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(answer) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(answer), err
}

func TestR2_KeyRevokedWhileRequestsRunIsRefusedOnTheNext(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{})
	running := make(chan struct{})
	finish := make(chan struct{})
	g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(running)
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	request := requestForms["curl's form with u"](g, secret)
	admitted := make(chan reply)
	go func() { admitted <- g.send(request) }()
	<-running

	// The store of the gate itself, because its writes have an effect at once.
	store := serverStore(t)
	keys, _, err := store.Keys(t.Context(), keystore.KeyList{AccountID: g.account.ID})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.RevokeKey(t.Context(), now(), operator, keys[0].ID, "test"); err != nil {
		t.Fatal(err)
	}
	wantDenied(t, g.send(request))
	close(finish)
	if got := <-admitted; got.body != "done" {
		t.Errorf("the request that had been admitted: status %d, body %q", got.status, got.body)
	}
}
