package postgres

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// What the operator reads of a TLS connection that fails: what is wrong, and what to do. The server was reached, and a
// certificate that is not accepted counts as a refusal, with each sslmode.
func TestOpen_SaysWhatIsWrongWithTLS(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	good, goodFile := newCertificate(t, "127.0.0.1", day)
	named, namedFile := newCertificate(t, "192.0.2.1", day)
	expired, expiredFile := newCertificate(t, "127.0.0.1", -day)
	for name, c := range map[string]struct {
		shows       tls.Certificate
		query, want string
	}{
		"no authority is named":             {good, "sslmode=verify-full", "its certificate is not trusted (x509: certificate signed by unknown authority): name the file of its authority with sslrootcert in the connection string"},
		"another authority":                 {good, "sslmode=verify-full&sslrootcert=" + namedFile, "its certificate is not trusted (x509: certificate signed by unknown authority"},
		"another authority, verify-ca":      {good, "sslmode=verify-ca&sslrootcert=" + namedFile, "name the file of its authority with sslrootcert"},
		"another name":                      {named, "sslmode=verify-full&sslrootcert=" + namedFile, "its certificate is for another name (x509: certificate is valid for 192.0.2.1, not 127.0.0.1): write a name of the certificate as the host of the connection string"},
		"an expired certificate":            {expired, "sslmode=verify-full&sslrootcert=" + expiredFile, "renew the certificate, or set the clock of this machine"},
		"an expired certificate, verify-ca": {expired, "sslmode=verify-ca&sslrootcert=" + expiredFile, "renew the certificate, or set the clock of this machine"},
		"a good certificate":                {good, "sslmode=verify-full&sslrootcert=" + goodFile, "the PostgreSQL server cannot be reached: "}, // after the handshake
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{c.shows}})
			e := New(placeOf(t, "postgres://gateway@"+address+"/keys?"+c.query, ""), true, zap.NewNop())
			_, err := e.Open(t.Context(), creating)
			if err == nil {
				t.Fatal("no error")
			}
			if accepted := strings.HasSuffix(c.query, goodFile); e.Refused(err) == accepted {
				t.Errorf("refused: %t, with a certificate that is accepted: %t", e.Refused(err), accepted)
			}
			text, begin := e.Advise(err).Error(), "connecting to the PostgreSQL server: "+address+": "
			if !strings.Contains(text, c.want) || strings.Contains(text, "startup message") || !strings.HasPrefix(c.want, "the PostgreSQL") && !strings.HasPrefix(text, begin) {
				t.Errorf("%q, want %q behind %q", text, c.want, begin)
			}
		})
	}
}

// newCertificate returns a certificate for an address, which has signed itself, and the file with it.
func newCertificate(t *testing.T, address string, left time.Duration) (certificate tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(left),
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "certificate.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// A server that accepts connections and says nothing has not answered in time. The text says so once.
func TestOpen_SaysOnceThatNothingAnswers(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	address := listener.Addr().String()
	_, err = New(placeOf(t, "postgres://gateway@"+address+"/keys?sslmode=disable&connect_timeout=1", ""), true, zap.NewNop()).Open(t.Context(), creating)
	if want := "the PostgreSQL server cannot be reached: " + address + ": no answer in time"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
}

// An address is shown once, and with the name that led to it.
func TestShortAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1:5432 (192.0.2.1":                      "192.0.2.1:5432",
		"192.0.2.1:5432 (db.example.com":                 "192.0.2.1:5432 (db.example.com)",
		"[2001:db8::1]:5432 (2001:db8::1":                "[2001:db8::1]:5432",
		"/run/postgresql/.s.PGSQL.5432 (/run/postgresql": "/run/postgresql/.s.PGSQL.5432",
		"[2001:db8::1]:5432 (db.example.com":             "[2001:db8::1]:5432 (db.example.com)",
	} {
		if got := shortAddress(address); got != want {
			t.Errorf("%s) is %q, want %q", address, got, want)
		}
	}
}
