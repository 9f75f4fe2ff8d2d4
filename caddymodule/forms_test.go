package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// Many clients send forms at a time. Some forms are refused, some break off, and some are answered
// by a backend that has not read them. Each form that arrives has the bytes of one client and the
// upstream key.
func TestR1_FormsOfManyClientsAreNotMixed(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	g.backend.forget.Store(true)
	g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("early") {
			_, _ = io.WriteString(w, "early")
			return
		}
		form, err := r.MultipartReader()
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var got strings.Builder // since it cannot read on once it has answered
		for part, err := form.NextPart(); err == nil; part, err = form.NextPart() {
			value, _ := io.ReadAll(part)
			if string(value) == backendKey { // which the gate would mask
				value = []byte("the backend's")
			}
			_, _ = fmt.Fprintf(&got, "%s=%s;", part.FormName(), value)
		}
		_, _ = io.WriteString(w, got.String())
	})
	var clients sync.WaitGroup
	for client := range 8 {
		_, key := g.issue(keystore.NewKey{})
		clients.Go(func() {
			for i := range 60 {
				mine := strings.Repeat(fmt.Sprintf("client %d, form %d. ", client, i), 1+i*i)
				early := g.form("/v1/recognize?early", [2]string{"x", mine[:len(mine)/8]}, [2]string{"u", key}, [2]string{"a", mine})
				form := g.form("/v1/recognize", [2]string{"x", mine[:len(mine)/8]}, [2]string{"u", key}, [2]string{"a", mine})
				for request, want := range map[string]string{
					form:                 "x=" + mine[:len(mine)/8] + ";u=the backend's;a=" + mine + ";",
					early:                "early",
					form[:len(form)*2/3]: "", // the client goes away
					strings.Replace(form, key, key[1:]+"x", 1): deniedBody,
				} {
					if got, err := exchangeBytes(g.addr, request, want != ""); err != nil || got != want {
						t.Errorf("client %d, form %d: %.60q and so on, %v; want %.60q", client, i, got, err, want)
						return
					}
				}
			}
		})
	}
	clients.Wait()
}

// exchangeBytes sends a request. If it waits for the answer, it returns the body.
func exchangeBytes(addr, request string, waits bool) (body string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if !waits {
		_, err = io.WriteString(conn, request)
		return "", err
	}
	go func() { _, _ = io.WriteString(conn, request) }() // an answer may come before its end
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
