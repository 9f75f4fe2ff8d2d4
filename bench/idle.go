//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
)

// idleCount is how many streams wait for their first command. Each stream needs two file
// descriptors of the plain proxy and two of this process. Many systems allow 20,000.
const idleCount = 9000

// idleStreams compares the memory that the gate and the other proxy need for each
// stream whose client has sent no start command yet. Plain Caddy, as the other proxy,
// connects to the backend at the handshake. The gate connects only after it has allowed
// the first start command.
func (s *suite) idleStreams() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	addr, stop, err := s.sink()
	if err != nil {
		return err
	}
	defer stop()
	other, gate := s.otherSite(f), gateSite(f)
	for _, site := range []*site{&other, &gate} { // plain Caddy has no such option
		site.before = strings.Replace(site.before, "max_pending_streams 4096", fmt.Sprintf("max_pending_streams %d\n\t\tstart_timeout 10m", 2*idleCount), 1)
	}
	run := func(site site) func() (sample, error) {
		return func() (sample, error) {
			p, err := s.start(site, addr)
			if err != nil {
				return nil, err
			}
			defer p.stop()
			before, err := p.liveMemory()
			if err != nil {
				return nil, err
			}
			held, err := idle(p)
			if err != nil {
				return nil, err
			}
			return sample{"memory": (held - before) / 1024 / idleCount}, nil
		}
	}
	return s.compare("idle-streams", max(1, s.pairs/8), run(other), run(gate),
		measure{name: "memory", unit: "KiB for each of " + strconv.Itoa(idleCount) + " streams without a command", target: 0.3, atMost: true})
}

// idle opens streams that send nothing, and returns the live memory of the proxy.
func idle(p *proxy) (live float64, err error) {
	conns := make([]net.Conn, 0, idleCount)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for range idleCount {
		conn, err := dial(p.addr)
		if err != nil {
			return 0, err
		}
		conns = append(conns, conn)
		_, _ = fmt.Fprintf(conn, "GET /v1/ HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", p.addr)
		resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
		if err != nil {
			return 0, err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusSwitchingProtocols {
			return 0, fmt.Errorf("stream %d: status %d", len(conns), resp.StatusCode)
		}
	}
	return p.liveMemory()
}

// liveMemory returns the bytes of the heap and of the stacks that the proxy uses after
// garbage collections. Resident memory would include garbage, whose amount depends on the
// phase of the garbage collector.
func (p *proxy) liveMemory() (float64, error) {
	for range 2 { // the second collection frees what finalizers held
		if _, err := p.get("/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	text, err := p.get("/debug/vars")
	if err != nil {
		return 0, err
	}
	var vars struct {
		MemStats *runtime.MemStats `json:"memstats"`
	}
	if err := json.Unmarshal(text, &vars); err != nil {
		return 0, err
	}
	if vars.MemStats == nil {
		return 0, errors.New("the admin endpoint does not tell memory statistics")
	}
	return float64(vars.MemStats.HeapAlloc + vars.MemStats.StackInuse), nil
}

// get returns the answer of the proxy's admin endpoint.
func (p *proxy) get(path string) ([]byte, error) {
	resp, err := http.Get("http://" + p.admin + path) //nolint:noctx // the suite's context ends the proxy
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the admin endpoint answers %s to %s", resp.Status, path)
	}
	return io.ReadAll(resp.Body)
}
