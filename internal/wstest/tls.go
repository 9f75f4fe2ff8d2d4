package wstest

import (
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
)

// TLSPair returns the two ends of a TLS connection, and the socket below the client's end.
func TLSPair(t testing.TB) (client, server *tls.Conn, socket *net.TCPConn) {
	t.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	cfg := certified.TLS.Clone()
	certified.Close()
	c, s := Pair(t)
	client, server = tls.Client(c, &tls.Config{InsecureSkipVerify: true}), tls.Server(s, cfg) //nolint:gosec // the certificate is the test's own
	go func() { _ = client.HandshakeContext(t.Context()) }()
	if err := server.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client, server, c
}
