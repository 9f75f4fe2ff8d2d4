//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// uploadMemory runs 64 uploads at once. Each pair has new processes, because a heap that
// has grown does not shrink.
func (s *suite) uploadMemory() error {
	const uploads, size = 64, 10 << 20
	f, err := s.small()
	if err != nil {
		return err
	}
	request := form("/v1/recognize", "u", f.keys[0], size)
	run := func(site site) func() (sample, error) {
		return func() (sample, error) {
			p, err := s.start(site, s.loop.addr)
			if err != nil {
				return nil, err
			}
			defer p.stop()
			// The run lasts one nanosecond, so each connection sends only its first request.
			if _, err := s.play(p, plan{conns: uploads, next: once(request), classes: []class{answered}, length: time.Nanosecond}); err != nil {
				return nil, err
			}
			most, err := p.memory("VmHWM")
			return sample{"peak memory": most}, err
		}
	}
	pairs := max(1, min(s.pairs, 11))
	return s.compare("upload-memory", pairs, run(s.otherSite(f)), run(gateSite(f)),
		measure{name: "peak memory", unit: "MiB", target: 1.1, atMost: true})
}

// firstByte sends the start of an upload, and then nothing for a while. It measures when
// the start arrives at the backend.
func (s *suite) firstByte() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	arrived, broken := make(chan time.Time), make(chan error, 1)
	var accepted atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				broken <- err
				return
			}
			accepted.Add(1)
			go slowBackend(s.ctx, conn, arrived)
		}
	}()
	one, err := s.start(plainSite(), listener.Addr().String())
	if err != nil {
		return err
	}
	other, err := s.start(gateSite(f), listener.Addr().String())
	if err != nil {
		return err
	}
	request := form("/v1/recognize", "u", f.keys[0], 1<<20)
	run := func(p *proxy) func() (sample, error) {
		return func() (sample, error) {
			defer s.alone(p)()
			time.Sleep(20 * time.Millisecond) // so that the machine is idle
			conn, err := dial(p.addr)
			if err != nil {
				return nil, err
			}
			defer func() { _ = conn.Close() }()
			begun, before := time.Now(), accepted.Load()
			if _, err := conn.Write(request[:16<<10]); err != nil {
				return nil, err
			}
			answers := make(chan string, 1)
			go func() {
				answer := make([]byte, 300)
				n, err := conn.Read(answer)
				answers <- fmt.Sprintf("%q, %v", answer[:n], err)
			}()
			select {
			case at := <-arrived:
				return sample{"first byte": float64(at.Sub(begun).Microseconds()) / 1e3}, nil
			case answer := <-answers:
				return nil, fmt.Errorf("the %s proxy has answered the start of an upload: %s", p.name, answer)
			case err := <-broken:
				return nil, fmt.Errorf("the backend of the %s proxy: %w", p.name, err)
			case <-time.After(5 * time.Second):
				return nil, fmt.Errorf("no byte of the upload's start has come through the %s proxy in 5 s; %d connections to the backend have come", p.name, accepted.Load()-before)
			}
		}
	}
	if _, err := run(one)(); err != nil {
		return err
	}
	if _, err := run(other)(); err != nil {
		return err
	}
	if err := s.compare("first-byte", s.pairs, run(one), run(other), measure{name: "first byte", unit: "ms"}); err != nil {
		return err
	}
	r := s.rows[len(s.rows)-1]
	r.Measure, r.Gate, r.Target, r.AtMost, r.Absolute = "first byte later than plain", r.Gate-r.Plain, 5, true, true
	r.Plain, r.Ratio, r.Low, r.High = 0, 0, 0, 0
	s.rows = append(s.rows, r)
	return nil
}

// slowBackend reports when the first byte of a request's body arrives.
func slowBackend(ctx context.Context, conn net.Conn, arrived chan<- time.Time) {
	defer func() { _ = conn.Close() }()
	var got []byte
	buf := make([]byte, 64<<10)
	for told := false; ; {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if got = append(got, buf[:n]...); told {
			continue
		}
		if i := bytes.Index(got, []byte("\r\n\r\n")); i >= 0 && len(got) > i+4 {
			told = true
			select {
			case arrived <- time.Now():
			case <-ctx.Done():
			}
		}
	}
}

// forwardAuth compares the gate with Caddy's forward_auth and a service that holds the
// keys in a map. The service does not run on the proxy's core.
func (s *suite) forwardAuth() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	keys := make(map[string]string, len(f.keys))
	for _, key := range f.keys {
		keys[key] = f.account
	}
	service, err := new(net.ListenConfig).Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			account, known := keys[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
			if !known {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("X-Account-Id", account)
			_, _ = io.WriteString(w, "ok")
		}),
	}
	go func() { _ = server.Serve(service) }()
	defer func() { _ = server.Close() }()
	auth := site{
		name: "forward-auth", binary: "plain",
		before: "forward_auth " + service.Addr().String() + " {\n\t\turi /\n\t\tcopy_headers X-Account-Id\n\t\ttransport http {\n\t\t\tkeepalive_idle_conns_per_host 1024\n\t\t}\n\t}",
	}
	s.loop.waits = true
	one, other, err := s.warmPair(f, auth, gateSite(f))
	if err != nil {
		return err
	}
	return s.closed("forward-auth", one, other, f.poll, smallConns, throughputAtLeast(1.7), cpuAtMost(0))
}
