//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	streamBytes = 256 << 20 // the bytes through one stream in a run
	streamCount = 500
	streamRate  = 32 << 10 // bytes per second and stream
)

// sink starts a backend that accepts every start command and discards the audio. It answers
// the end command when it has read all audio.
func (s *suite) sink() (addr string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(s.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go swallow(conn)
		}
	}()
	return listener.Addr().String(), func() { _ = listener.Close() }, nil
}

func swallow(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReaderSize(conn, 1024)
	if _, err := http.ReadRequest(reader); err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	length, opcode := frameHead(reader)
	if _, err := reader.Discard(length); err != nil || opcode != 1 {
		return
	}
	_, _ = conn.Write([]byte{0x81, 1, 's'})
	buf := make([]byte, 64<<10)
	const kept = 2 // the number of earlier bytes before the new bytes
	for {
		n, err := reader.Read(buf[kept:])
		if err != nil {
			return
		}
		// The end command is the last three bytes of the connection.
		end := buf[n-1 : n+kept]
		ended := string(end) == "\x81\x01e"
		copy(buf, end[1:])
		if ended {
			_, _ = conn.Write([]byte{0x81, 1, 'e'})
		}
	}
}

func frameHead(r *bufio.Reader) (length int, opcode byte) {
	first, _ := r.ReadByte()
	second, _ := r.ReadByte()
	length = int(second & 0x7f)
	if length == 126 {
		var long [2]byte
		_, _ = io.ReadFull(r, long[:])
		length = int(binary.BigEndian.Uint16(long[:]))
	}
	return length, first & 0xf
}

// openStream opens a stream, and returns when the start command is accepted.
func openStream(p *proxy, key string) (net.Conn, error) {
	conn, err := dial(p.addr)
	if err != nil {
		return nil, err
	}
	command := "s 16K -a-general authorization=" + key
	_, _ = fmt.Fprintf(conn, "GET /v1/ HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81%c%s", p.addr, len(command), command)
	reader := bufio.NewReaderSize(conn, 512)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	var answer [3]byte
	if _, err := io.ReadFull(reader, answer[:]); err != nil || resp.StatusCode != http.StatusSwitchingProtocols || answer[2] != 's' {
		return nil, fmt.Errorf("the stream was not accepted: status %d, then %q", resp.StatusCode, answer)
	}
	return conn, nil
}

// audioFrames returns many frames with this many bytes of audio, in one slice.
func audioFrames(size, total int) []byte {
	frame := append([]byte{0x82, 126, byte(size >> 8), byte(size), 'p'}, make([]byte, size-1)...)
	var all []byte
	for len(all) < total {
		all = append(all, frame...)
	}
	return all
}

// streamPair starts both in front of a sink.
func (s *suite) streamPair() (f *fixture, one, other *proxy, stop func(), err error) {
	if f, err = s.small(); err != nil {
		return nil, nil, nil, nil, err
	}
	addr, stop, err := s.sink()
	if err != nil {
		return nil, nil, nil, nil, err
	}
	if one, err = s.start(s.otherSite(f), addr); err == nil {
		other, err = s.start(gateSite(f), addr)
	}
	return f, one, other, stop, err
}

// saturatedStream sends audio through a stream as fast as the stream takes it.
func (s *suite) saturatedStream() error {
	f, one, other, stop, err := s.streamPair()
	if err != nil {
		return err
	}
	defer stop()
	return s.saturated("stream", one, other, 0.95, func(p *proxy, chunk []byte) (float64, error) {
		return saturate(p, f.keys[0], chunk)
	})
}

// saturated measures the throughput of a stream, which is at least target, and its CPU time. In each run the
// function saturate sends streamBytes through one stream.
func (s *suite) saturated(name string, one, other *proxy, target float64, saturate func(p *proxy, chunk []byte) (megabytesPerSecond float64, err error)) error {
	for _, size := range []int{4097, 32 << 10} {
		chunk := audioFrames(size, 1<<20)
		run := func(p *proxy) func() (sample, error) {
			return func() (sample, error) {
				defer s.alone(p)()
				before := p.cpu()
				rate, err := saturate(p, chunk)
				return sample{"throughput": rate, "CPU": (p.cpu() - before).Seconds() * 1e6 / (streamBytes / 1e6)}, err
			}
		}
		err := s.compare(fmt.Sprintf("%s, frames of %d bytes", name, size), s.pairs, run(one), run(other),
			measure{name: "throughput", unit: "MB/s", target: target},
			measure{name: "CPU", unit: "µs for each MB"})
		if err != nil {
			return err
		}
	}
	return nil
}

func saturate(p *proxy, key string, chunk []byte) (megabytesPerSecond float64, err error) {
	conn, err := openStream(p, key)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	begun := time.Now()
	sent := 0
	for sent < streamBytes {
		n, err := conn.Write(chunk)
		if err != nil {
			return 0, err
		}
		sent += n
	}
	if _, err := conn.Write([]byte{0x81, 1, 'e'}); err != nil {
		return 0, err
	}
	var end [3]byte
	if _, err := io.ReadFull(conn, end[:]); err != nil || end[2] != 'e' {
		return 0, fmt.Errorf("the stream did not end well: %q, %w", end, err)
	}
	return float64(sent) / time.Since(begun).Seconds() / 1e6, nil
}

// streamStarts measures how long a client waits from its handshake to the answer to its
// start command. It opens one stream after another.
func (s *suite) streamStarts() error {
	f, one, other, stop, err := s.streamPair()
	if err != nil {
		return err
	}
	defer stop()
	next := 0
	run := func(p *proxy) func() (sample, error) {
		return func() (sample, error) {
			defer s.alone(p)()
			var waits []float64
			for begun := time.Now(); time.Since(begun) < s.length; {
				next++
				opened := time.Now()
				conn, err := openStream(p, f.keys[next%len(f.keys)])
				if err != nil {
					return nil, err
				}
				waits = append(waits, time.Since(opened).Seconds()*1e3)
				_ = conn.Close()
			}
			return sample{"first answer": median(waits)}, nil
		}
	}
	return s.compare("stream-start", s.pairs, run(one), run(other), measure{name: "first answer", unit: "ms"})
}

// manyStreams runs streams at the rate of live audio.
func (s *suite) manyStreams() error {
	f, one, other, stop, err := s.streamPair()
	if err != nil {
		return err
	}
	defer stop()
	run := func(p *proxy) func() (sample, error) {
		return func() (sample, error) {
			defer s.alone(p)()
			return liveStreams(p, f.keys, 5*s.length)
		}
	}
	return s.compare("streams", max(1, s.pairs/4), run(one), run(other),
		measure{name: "cores", unit: "of 1", target: 1 / 0.95, atMost: true},
		measure{name: "memory", unit: "MiB"})
}

// liveStreams has every stream send ten frames a second.
func liveStreams(p *proxy, keys []string, length time.Duration) (sample, error) {
	const period = 100 * time.Millisecond
	frame := audioFrames(streamRate/10, 1)
	conns := make([]net.Conn, streamCount)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	for i := range conns {
		var err error
		if conns[i], err = openStream(p, keys[i]); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	var errs []error
	before := p.cpu()
	begun := time.Now()
	var clients sync.WaitGroup
	for i, conn := range conns {
		clients.Go(func() {
			offset := time.Duration(i) * period / streamCount
			for n := range int(length / period) {
				due := begun.Add(offset + time.Duration(n)*period)
				time.Sleep(time.Until(due))
				_, err := conn.Write(frame)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	clients.Wait()
	cores := (p.cpu() - before).Seconds() / time.Since(begun).Seconds()
	memory, err := p.memory("VmRSS")
	return sample{"cores": cores, "memory": memory}, errors.Join(append(errs, err)...)
}
