package e2e_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The benchmarks of streams compare a gate with the same reverse_proxy without
// one, each a process of its own on one core, in pairs of runs.
//
//	go test ./e2e -run '^$' -bench '^BenchmarkStream' -benchtime 1x -timeout 20m
const (
	benchPairs    = 11
	benchBytes    = 256 << 20 // through one stream in a run
	benchStreams  = 500
	benchRate     = 32 << 10 // bytes per second of each
	benchDuration = 10 * time.Second
)

// proxies are the two that are compared.
type proxies struct {
	key         string
	gate, plain *proxy
}

type proxy struct {
	addr string
	pid  int
}

func startProxies(b *testing.B) *proxies {
	b.Helper()
	backend := sink(b)
	gate := startProxy(b, "speechgate amivoice {\nupstream_key the-backends-own-key-0123456789\nmax_pending_streams 2000\n}", backend)
	plain := startProxy(b, "", backend)
	return &proxies{key: gate.key, gate: gate.proxy, plain: plain.proxy}
}

type started struct {
	*proxy
	key string // where there is a gate
}

// startProxy runs Caddy on one core.
func startProxy(b *testing.B, gate, backend string) started {
	b.Helper()
	dir := b.TempDir()
	free, err := freePort()
	if err != nil {
		b.Fatal(err)
	}
	store := filepath.Join(dir, "keystore.db")
	config := filepath.Join(dir, "Caddyfile")
	text := "{\nadmin off\nlog default {\noutput discard\n}\n"
	if gate != "" {
		text += "speechgate {\nkeystore sqlite " + store + "\n}\n"
	}
	text += "}\nhttp://127.0.0.1:" + free + " {\n" + gate + "\nreverse_proxy " + backend + "\n}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	env := append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	s := started{proxy: &proxy{addr: "127.0.0.1:" + free}}
	if gate != "" {
		account := runJSON(b, env, "caddy", "speechgate", "--json", "--keystore", store, "account", "create", "--name", "Bench")
		s.key = runJSON(b, env, "caddy", "speechgate", "--json", "--keystore", store, "key", "issue", "--account", account["account_id"].(string))["key"].(string)
	}
	cmd := exec.Command("taskset", "-c", "1", "caddy", "run", "--config", config)
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	s.pid = cmd.Process.Pid
	for range 200 {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			_ = conn.Close()
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("the proxy does not listen")
	return s
}

func runJSON(b *testing.B, env []string, name string, args ...string) map[string]any {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	object := make(map[string]any)
	if err := json.Unmarshal(out, &object); err != nil {
		b.Fatal(err)
	}
	return object
}

// sink is a backend that accepts every start and throws the audio away. When the
// client ends the session, it says so once it has read all.
func sink(b *testing.B) string {
	b.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go swallow(conn)
		}
	}()
	return listener.Addr().String()
}

func swallow(conn net.Conn) {
	defer conn.Close()
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
	for {
		n, err := reader.Read(buf)
		if err != nil {
			return
		}
		// The end command is the last three bytes of all.
		if n >= 3 && buf[n-3] == 0x81 && buf[n-2] == 1 && buf[n-1] == 'e' {
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

// open begins a stream, and returns once it is accepted.
func (p *proxy) open(b *testing.B, key string) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		b.Fatal(err)
	}
	command := "s 16K -a-general authorization=" + key
	_, _ = fmt.Fprintf(conn, "GET /v1/ HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81%c%s", p.addr, len(command), command)
	reader := bufio.NewReaderSize(conn, 512)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		b.Fatal(resp, err)
	}
	var answer [3]byte
	if _, err := io.ReadFull(reader, answer[:]); err != nil || answer[2] != 's' {
		b.Fatalf("%q, %v", answer, err)
	}
	return conn
}

// audioFrames are frames of audio of this size, many in one slice.
func audioFrames(size, total int) []byte {
	head := []byte{0x82, 126, byte(size >> 8), byte(size), 'p'}
	frame := append(head, make([]byte, size-1)...)
	var all []byte
	for len(all) < total {
		all = append(all, frame...)
	}
	return all
}

// cpu is what the process has used, in seconds.
func (p *proxy) cpu(b *testing.B) float64 {
	b.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	if err != nil {
		b.Skip("there is no /proc: ", err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// memory is what the process holds, in KiB.
func (p *proxy) memory(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/status")
	if err != nil {
		b.Skip("there is no /proc: ", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	return kib
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkStreamSaturated sends as much as goes through one stream.
func BenchmarkStreamSaturated(b *testing.B) {
	for _, size := range []int{4097, 32 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			both := startProxies(b)
			chunk := audioFrames(size, 1<<20)
			run := func(p *proxy) float64 {
				conn := p.open(b, both.key)
				defer conn.Close()
				begun := time.Now()
				sent := 0
				for sent < benchBytes {
					n, err := conn.Write(chunk)
					if err != nil {
						b.Fatal(err)
					}
					sent += n
				}
				_, _ = conn.Write([]byte{0x81, 1, 'e'})
				var end [3]byte
				if _, err := io.ReadFull(conn, end[:]); err != nil || end[2] != 'e' {
					b.Fatalf("%q, %v", end, err)
				}
				return float64(sent) / time.Since(begun).Seconds() / 1e6
			}
			run(both.plain)
			run(both.gate)
			var plain, gate, ratios []float64
			for range benchPairs {
				one, other := run(both.plain), run(both.gate)
				plain, gate, ratios = append(plain, one), append(gate, other), append(ratios, other/one)
			}
			b.ReportMetric(middle(plain), "plain-MB/s")
			b.ReportMetric(middle(gate), "gate-MB/s")
			b.ReportMetric(middle(ratios), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkStreamMany runs many streams at the rate of live audio, and reports
// what the proxies use.
func BenchmarkStreamMany(b *testing.B) {
	both := startProxies(b)
	frame := audioFrames(benchRate/10, 1)
	var late atomic.Int64
	run := func(p *proxy) (cpu, idle float64) {
		before := p.memory(b)
		conns := make([]net.Conn, benchStreams)
		for i := range conns {
			conns[i] = p.open(b, both.key)
		}
		time.Sleep(time.Second)
		idle = (p.memory(b) - before) / benchStreams
		begun := p.cpu(b)
		var clients sync.WaitGroup
		for i, conn := range conns {
			clients.Go(func() {
				defer conn.Close()
				start := time.Now().Add(time.Duration(i) * 100 * time.Millisecond / benchStreams)
				for n := range int(benchDuration / (100 * time.Millisecond)) {
					due := start.Add(time.Duration(n) * 100 * time.Millisecond)
					time.Sleep(time.Until(due))
					if _, err := conn.Write(frame); err != nil {
						b.Error(err)
						return
					}
					if behind := time.Since(due); behind > time.Second {
						late.Add(1)
					}
				}
			})
		}
		clients.Wait()
		cpu = (p.cpu(b) - begun) / benchDuration.Seconds()
		time.Sleep(time.Second)
		return cpu, idle
	}
	var plain, gate, ratios, plainIdle, gateIdle []float64
	for range 3 {
		one, oneIdle := run(both.plain)
		other, otherIdle := run(both.gate)
		plain, gate, ratios = append(plain, one), append(gate, other), append(ratios, other/one)
		plainIdle, gateIdle = append(plainIdle, oneIdle), append(gateIdle, otherIdle)
	}
	b.ReportMetric(middle(plain), "plain-cores")
	b.ReportMetric(middle(gate), "gate-cores")
	b.ReportMetric(middle(ratios), "ratio")
	b.ReportMetric(plainIdle[0], "plain-KiB/stream") // the first run's, since the heap stays
	b.ReportMetric(gateIdle[0], "gate-KiB/stream")
	b.ReportMetric(float64(late.Load()), "late-frames")
	b.ReportMetric(0, "ns/op")
}
