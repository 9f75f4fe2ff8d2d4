package openid

import (
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// askTime is how long the provider may take for an answer.
	askTime = 10 * time.Second
	// mostAnswer is the longest answer of the provider, and mostHeader its longest header, in bytes.
	mostAnswer, mostHeader = 1 << 20, 64 << 10
)

// newClient returns a client for the provider. It follows no redirect, which could carry the
// secret of the client to another host.
func newClient() *http.Client {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: askTime, ResponseHeaderTimeout: askTime, IdleConnTimeout: time.Minute,
		MaxIdleConns: mostAsking, MaxResponseHeaderBytes: mostHeader,
	}
	return &http.Client{
		Transport: bounded{transport}, Timeout: askTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded limits the length of answers.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, mostAnswer}
	}
	return resp, err
}

var errLong = errors.New("the answer of the provider is longer than 1 MiB")

type boundedBody struct {
	io.ReadCloser

	left int64
}

// Read fails behind the limit. An answer that is cut would be read as a whole one.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLong
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
