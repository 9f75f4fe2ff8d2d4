//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// echo starts a backend that opens the streams of Deepgram's API, and sends every byte of a stream
// back. Key is the key that handshakes must have; empty for any key.
func echo(ctx context.Context, key string) (addr string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go sendBack(conn, key)
		}
	}()
	return listener.Addr().String(), func() { _ = listener.Close() }, nil
}

func sendBack(conn net.Conn, key string) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReaderSize(conn, 64<<10)
	r, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	shown := strings.Join(r.Header["Authorization"], ",")
	if key != "" && (shown != "Token "+key || strings.Contains(fmt.Sprint(r.URL, r.Header), policy.KeyPrefix)) {
		_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	_, _ = reader.WriteTo(struct{ io.Writer }{conn})
}

// openKeyedStream opens a stream whose key is in its handshake.
func openKeyedStream(p *proxy, key string) (net.Conn, *bufio.Reader, error) {
	conn, err := dial(p.addr)
	if err != nil {
		return nil, nil, err
	}
	_, _ = fmt.Fprintf(conn, "GET /v1/listen?model=nova-3&encoding=linear16&sample_rate=16000 HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Token %s\r\n\r\n", p.addr, key)
	reader := bufio.NewReaderSize(conn, 64<<10)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil, errors.Join(fmt.Errorf("the stream was not opened: status %d", resp.StatusCode), conn.Close())
	}
	return conn, reader, nil
}

// echoedStream measures a stream in which as many messages come back as are sent. Nothing in it has
// to be read after the handshake.
func (s *suite) echoedStream() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	gate := gateFor(f, "deepgram", upstreamKey)
	var proxies [2]*proxy
	for i, site := range []site{s.insteadOf(gate), gate} {
		addr, stop, err := echo(s.ctx, site.key)
		if err != nil {
			return err
		}
		defer stop()
		if proxies[i], err = s.start(site, addr); err != nil {
			return err
		}
	}
	return s.saturated("deepgram-stream", proxies[0], proxies[1], 0.98, func(p *proxy, chunk []byte) (float64, error) {
		return saturateBoth(p, f.keys[0], chunk)
	})
}

// saturateBoth sends audio through a stream as fast as the stream takes it, and reads what comes
// back. Half of streamBytes goes each way.
func saturateBoth(p *proxy, key string, chunk []byte) (megabytesPerSecond float64, err error) {
	conn, reader, err := openKeyedStream(p, key)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	begun := time.Now()
	rounds := streamBytes / 2 / len(chunk)
	sent := make(chan error, 1)
	go func() {
		for range rounds {
			if _, err := conn.Write(chunk); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	back, err := io.CopyN(io.Discard, reader, int64(rounds*len(chunk)))
	took := time.Since(begun)
	_ = conn.SetDeadline(time.Now()) // if reading has failed, writing ends too
	if err := errors.Join(err, <-sent); err != nil {
		return 0, fmt.Errorf("%d bytes came back: %w", back, err)
	}
	return float64(2*back) / 1e6 / took.Seconds(), nil
}
