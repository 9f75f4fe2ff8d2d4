package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// inTime calls do with a new key, which expires after 400 ms. If the key expires before do has done its
// work, do returns false, and inTime calls do with another key that lives longer.
func (g *gateway) inTime(do func(secret string, expires policy.Time) bool) (expires policy.Time) {
	g.t.Helper()
	for lifetime := 400 * time.Millisecond; lifetime < time.Minute; lifetime *= 3 {
		expires = now().Add(lifetime)
		_, secret := g.issue(keystore.NewKey{Expires: policy.ExpiresAt(expires)})
		if do(secret, expires) {
			return expires
		}
		if now() < expires {
			break
		}
	}
	g.t.Fatal("a key that has not expired is refused")
	return 0
}

// shortLived issues a key that soon expires, and returns its expiry.
func (g *gateway) shortLived(k keystore.NewKey) (secret string, expires policy.Time) {
	g.t.Helper()
	expires = now().Add(400 * time.Millisecond)
	k.Expires = policy.ExpiresAt(expires)
	_, secret = g.issue(k)
	return secret, expires
}

// sendSlowly sends the bytes of a request before a text, waits for an instant, and sends the rest.
func (g *gateway) sendSlowly(t *testing.T, request, before string, until policy.Time) reply {
	t.Helper()
	at := strings.Index(request, before)
	if at < 0 {
		t.Fatalf("no %q in %q", before, request)
	}
	conn := g.dial(t)
	if _, err := io.WriteString(conn, request[:at]); err != nil {
		t.Fatal(err)
	}
	waitFor(until)
	if _, err := io.WriteString(conn, request[at:]); err != nil {
		t.Fatal(err)
	}
	return readReply(t, conn)
}

// waitFor waits until the system's clock, which is that of the gateway, shows an instant.
func waitFor(at policy.Time) {
	for now() < at {
		time.Sleep(5 * time.Millisecond)
	}
}

// A key counts at the instant at which the form has shown it, and not at the instant at which the
// request began.
func TestR3_ASlowFormIsJudgedWhenItsKeyIsKnown(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	t.Run("a key that expires before it comes", func(t *testing.T) {
		g.t = t
		secret, expires := g.shortLived(keystore.NewKey{})
		wantDenied(t, g.sendSlowly(t, requestForms["curl's form with u"](g, secret), secret, expires))
	})
	t.Run("a key that expires while the rest of its form's head comes", func(t *testing.T) {
		g.t = t
		secret, expires := g.shortLived(keystore.NewKey{})
		form := g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"d", "-a-general"}, [2]string{"a", audio})
		wantDenied(t, g.sendSlowly(t, form, "-a-general", expires))
	})
	t.Run("a key in the header, which expires before its form is known", func(t *testing.T) {
		g.t = t
		secret, expires := g.shortLived(keystore.NewKey{})
		form := g.form("/v1/recognize?u="+secret, [2]string{"d", "-a-general"}, [2]string{"a", audio})
		wantDenied(t, g.sendSlowly(t, form, "-a-general", expires))
	})
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the backend got %q", sent)
	}
	if n := strings.Count(g.log(), `"msg":"refused","reason":"key_expired"`); n != 3 {
		t.Errorf("the log has %d expired keys, want 3", n)
	}
	t.Run("but audio may come after the key has expired", func(t *testing.T) {
		g.t = t
		var conn net.Conn
		var rest string
		expires := g.inTime(func(secret string, expires policy.Time) bool {
			conn = g.dial(t)
			request := requestForms["curl's form with u"](g, secret)
			at := strings.Index(request, audio)
			rest = request[at:]
			if _, err := io.WriteString(conn, request[:at]); err != nil {
				t.Fatal(err)
			}
			admitted := false
			for ; !admitted && now() < expires; time.Sleep(time.Millisecond) {
				admitted = strings.Contains(g.backend.received(), backendKey)
			}
			return admitted
		})
		waitFor(expires)
		if _, err := io.WriteString(conn, rest); err != nil {
			t.Fatal(err)
		}
		if got := readReply(t, conn); got.status != http.StatusOK || got.body == deniedBody {
			t.Errorf("status %d, body %q", got.status, got.body)
		}
	})
}

func TestIssue_ASlowCallIsJudgedWhenItIsWhole(t *testing.T) {
	i := newIssuer(t, "")
	secret, expires := i.shortLived(keystore.NewKey{Issuable: true})
	before := i.count()
	call := "POST /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(secret) +
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\nepi=60000"
	i.refused("slow", before, i.sendSlowly(t, call, "60000", expires), http.StatusUnauthorized, "credentials are not valid")
	if !strings.Contains(i.log(), `"reason":"key_expired"`) {
		t.Error("the log does not name the reason")
	}
}

// A body that breaks off can lack the end of epi, or ipa.
func TestIssue_HalfABodyIssuesNothing(t *testing.T) {
	i := newIssuer(t, "")
	before := i.count()
	const form = "epi=60000&ipa=192.0.2.7"
	head := "POST /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\n" + bearerLine(i.secret) +
		"Content-Type: application/x-www-form-urlencoded\r\n"
	for name, sent := range map[string]string{
		"nothing of it":        fmt.Sprintf("Content-Length: %d\r\n\r\n", len(form)),
		"a shorter lifetime":   fmt.Sprintf("Content-Length: %d\r\n\r\nepi=600", len(form)),
		"no address":           fmt.Sprintf("Content-Length: %d\r\n\r\nepi=60000", len(form)),
		"chunked, no end":      "Transfer-Encoding: chunked\r\n\r\n9\r\nepi=60000\r\n",
		"chunked, within one":  "Transfer-Encoding: chunked\r\n\r\n17\r\nepi=60000",
		"chunked, a bad chunk": "Transfer-Encoding: chunked\r\n\r\n9\r\nepi=60000\r\nzz\r\n",
	} {
		conn := i.dial(t)
		if _, err := io.WriteString(conn, head+sent); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		i.refused(name, before, readReply(t, conn), http.StatusBadRequest, "The body did not arrive whole.")
	}
}
