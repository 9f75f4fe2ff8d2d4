package caddymodule_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// reply is an answer, as it came over the wire.
type reply struct {
	status  int
	header  http.Header
	raw     string // status line and header
	body    string
	trailer http.Header
}

// send writes the bytes of a request on a new connection, and reads the answer.
func (g *gateway) send(request string) reply {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(conn, request) }()
	method, _, _ := strings.Cut(request, " ")
	return readReplyTo(g.t, method, conn)
}

func readReply(t *testing.T, conn io.Reader) reply {
	t.Helper()
	return readReplyTo(t, http.MethodGet, conn)
}

// readReplyTo reads the answer to a request with this method. An answer to HEAD has no body.
func readReplyTo(t *testing.T, method string, conn io.Reader) reply {
	t.Helper()
	var raw bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &raw))
	resp, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the answer: %v (got %q)", err, raw.String())
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer's body: %v", err)
	}
	head, _, _ := strings.Cut(raw.String(), "\r\n\r\n")
	return reply{status: resp.StatusCode, header: resp.Header, raw: head, body: string(body), trailer: resp.Trailer}
}

// poll asks for the state of a job.
func (g *gateway) poll(id, key string, headers ...string) reply {
	g.t.Helper()
	return g.send("GET /v1/recognitions/" + id + " HTTP/1.1\r\nHost: " + g.addr + "\r\nAuthorization: Bearer " + key +
		"\r\n" + strings.Join(headers, "") + "Connection: close\r\n\r\n")
}

// form returns a multipart request like those of curl.
func (g *gateway) form(path string, parts ...[2]string) string {
	const boundary = "------------------------c0ffee"
	var body strings.Builder
	for _, part := range parts {
		body.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + part[0] + "\"")
		if part[0] == "a" {
			body.WriteString("; filename=\"speech.wav\"\r\nContent-Type: application/octet-stream")
		}
		body.WriteString("\r\n\r\n" + part[1] + "\r\n")
	}
	body.WriteString("--" + boundary + "--\r\n")
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nContent-Type: multipart/form-data; boundary=%s\r\nConnection: close\r\n\r\n%s",
		path, g.addr, body.Len(), boundary, body.String())
}
