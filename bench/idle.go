//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// idleCount is how many streams wait for their first command. Each stream needs two file
// descriptors of the plain proxy and two of this process. Many systems allow 20,000.
const idleCount = 9000

// idleStreams compares the cost of streams that have sent no key yet. The plain proxy
// connects each stream to the backend, as a gate that cannot wait would do.
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
			before, err := p.memory("VmRSS")
			if err != nil {
				return nil, err
			}
			// Memory that Go has never used is not resident yet, so the second time
			// counts.
			var held float64
			for range 2 {
				if held, err = idle(p); err != nil {
					return nil, err
				}
			}
			return sample{"memory": (held - before) * 1024 / idleCount}, nil
		}
	}
	return s.compare("idle-streams", max(1, s.pairs/8), run(other), run(gate),
		measure{name: "memory", unit: "KiB for each of " + strconv.Itoa(idleCount) + " streams without a command", target: 0.3, atMost: true})
}

// idle opens streams that send nothing, and returns the memory of the proxy.
func idle(p *proxy) (held float64, err error) {
	conns := make([]net.Conn, 0, idleCount)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
		time.Sleep(time.Second) // the proxy closes the streams
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
	return p.memory("VmRSS")
}
