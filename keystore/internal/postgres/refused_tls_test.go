package postgres

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// A server whose certificate is not accepted counts as one that refuses, and so does one that does not accept the
// certificate of the client. The errors are those of whole attempts to connect.
func TestRefused_ByTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	for name, c := range map[string]struct {
		mode string
		auth tls.ClientAuthType
		want string
	}{
		"a certificate of an unknown authority": {"verify-full", tls.NoClientCert, "name the file of its authority with sslrootcert"},
		"a client without a certificate":        {"require", tls.RequireAnyClientCert, "check sslcert and sslkey"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := &tls.Config{Certificates: web.TLS.Certificates, ClientAuth: c.auth}
			e := New(placeOf(t, "postgres://gateway@"+serveTLS(t, config)+"/keys?sslmode="+c.mode, ""), false, zap.NewNop())
			_, err := e.Open(t.Context(), creating)
			if !e.Refused(err) || e.Unreachable(err) {
				t.Errorf("refused %t, unreachable %t: %v", e.Refused(err), e.Unreachable(err), err)
			}
			if err == nil || strings.Contains(err.Error(), "gateway") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q, and no user", err, c.want)
			}
		})
	}
}

// serveTLS answers the requests of PostgreSQL's clients for TLS with a handshake, until the test ends, and returns its address.
func serveTLS(t *testing.T, config *tls.Config) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			go func() {
				defer func() { _ = conn.Close() }()
				request := make([]byte, 8)
				if _, err := io.ReadFull(conn, request); err != nil {
					return
				}
				_, _ = conn.Write([]byte("S"))
				_ = tls.Server(conn, config).HandshakeContext(t.Context()) // the client sees the error
			}()
		}
	}()
	return listener.Addr().String()
}
