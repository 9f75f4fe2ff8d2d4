package sandbox

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// libraryBody is a multipart body as the vendor's client libraries send it.
func libraryBody(d string, audio []byte) []byte {
	const boundary = "1234567890ABCDEFGHIJ"
	var b bytes.Buffer
	b.WriteString("\r\n")
	for _, p := range []part{{"d", d}, {"c", "16K"}, {"a", string(audio)}} {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, p.name, p.value)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}

// exchange sends a request over a socket, and returns the whole answer.
func exchange(t *testing.T, addr string, request []byte) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestTheLibrariesRequestOnTheWire(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(NewAmiVoice(Config{Key: testKey}))
	t.Cleanup(server.Close)
	addr := server.Listener.Addr().String()
	tests := []struct{ name, d, want string }{
		{"right key", "grammarFileNames=-a-general authorization=KEY%2B%2F%3Dabc", `"text":"5.82 s of 16000 Hz mono, 16 bits, 3 stretches of speech: `},
		{"wrong key", "grammarFileNames=-a-general authorization=KEY", refusal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			b.WriteString("POST /v1/recognize HTTP/1.1\r\nHost: " + addr + "\r\nConnection: close\r\n" +
				"User-Agent: Hrp/1.0.05 Python/3.11.7 (linux)\r\nTransfer-Encoding: chunked\r\n" +
				"Content-Type: multipart/form-data; boundary=1234567890ABCDEFGHIJ\r\n\r\n")
			for body := libraryBody(test.d, SpeechWAV()); len(body) > 0; {
				n := min(len(body), 4096)
				fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
				body = body[n:]
			}
			b.WriteString("0\r\n\r\n")
			answer := exchange(t, addr, b.Bytes())
			if !strings.HasPrefix(answer, "HTTP/1.1 200 OK\r\n") || strings.Count(answer, "\r\nX-Session-ID: ") != 1 ||
				!strings.Contains(answer, test.want) || !strings.HasSuffix(answer, "}\r\n") {
				t.Errorf("got %s", answer)
			}
		})
	}
}

func TestAWrongKeyOnALargeUploadIsAnsweredOnTheSameConnection(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(NewAmiVoice(Config{Key: "k"}))
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	const size = 8 << 20
	for range 2 {
		fmt.Fprintf(conn, "POST /v1/recognize?u=x HTTP/1.1\r\nHost: sandbox\r\nContent-Length: %d\r\n\r\n", size)
		if _, err := conn.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != refusal {
			t.Errorf("got %q, error %v", body, err)
		}
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	t.Parallel()
	h := NewAmiVoice(Config{Key: testKey, QueueTime: -1, WorkTime: -1})
	h.jobs.max = 20
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	body := libraryBody("authorization=KEY%2B%2F%3Dabc", SpeechWAV()[:20000])
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 5 {
				response, err := server.Client().Post(server.URL+"/v2/recognitions",
					"multipart/form-data; boundary=1234567890ABCDEFGHIJ", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				id := response.Header["X-Session-Id"] // as net/http's client spells it
				if w := poll(h, "/v2/recognitions/"+strings.Join(id, ""), testKey); w.Code != http.StatusOK && w.Code != http.StatusNotFound {
					t.Errorf("status %d", w.Code)
				}
			}
		})
	}
	clients.Wait()
	if len(h.jobs.byID) != 20 || len(h.jobs.ages) != 20 {
		t.Errorf("%d jobs, %d ages", len(h.jobs.byID), len(h.jobs.ages))
	}
}
