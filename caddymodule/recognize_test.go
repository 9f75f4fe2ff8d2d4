package caddymodule_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// deniedBody is the refusal of a recognition by AmiVoice, byte for byte.
const deniedBody = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"-","message":"received illegal service authorization"}` + "\r\n"

// audio is used as a recording. It contains bytes that could confuse a parser.
const audio = "RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00--1234567890ABCDEFGHIJ\r\n\r\n\x00\xff&u=x"

// requestForms are the ways in which clients send a key with a recognition.
var requestForms = map[string]func(g *gateway, key string) string{
	"curl's form with u": func(g *gateway, key string) string {
		return g.form("/v1/recognize", [2]string{"u", key}, [2]string{"d", "-a-general"}, [2]string{"a", audio})
	},
	"the library's form, chunked, with the key in d": func(g *gateway, key string) string {
		body := "\r\n--1234567890ABCDEFGHIJ\r\nContent-Disposition: form-data; name=\"d\"\r\n\r\ngrammarFileNames=-a-general authorization=" +
			url.QueryEscape(key) + "\r\n--1234567890ABCDEFGHIJ\r\nContent-Disposition: form-data; name=\"c\"\r\n\r\n16K\r\n" +
			"--1234567890ABCDEFGHIJ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + audio + "\r\n--1234567890ABCDEFGHIJ--\r\n"
		var chunks strings.Builder
		for len(body) > 0 {
			n := min(37, len(body)) // boundaries fall anywhere
			fmt.Fprintf(&chunks, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		return "POST /v1/recognize HTTP/1.1\r\nHost: " + g.addr + "\r\nUser-Agent: Hrp/1.0.05\r\nTransfer-Encoding: chunked\r\n" +
			"Content-Type: multipart/form-data; boundary=1234567890ABCDEFGHIJ\r\nConnection: close\r\n\r\n" + chunks.String() + "0\r\n\r\n"
	},
	"the query's u with a raw body": func(g *gateway, key string) string {
		return fmt.Sprintf("POST /v1/recognize?d=-a-general&c=16K&u=%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			url.QueryEscape(key), g.addr, len(audio), audio)
	},
	"the plugins' form with the key in the header": func(g *gateway, key string) string {
		form := g.form("/v2/recognitions", [2]string{"d", "-a-general"}, [2]string{"a", audio})
		return strings.Replace(form, "Content-Length:", "Authorization: Bearer "+key+"\r\nContent-Length:", 1)
	},
	"the query's d with a raw body labelled as a form": func(g *gateway, key string) string {
		d := url.QueryEscape("grammarFileNames=-a-general authorization=" + url.QueryEscape(key))
		return fmt.Sprintf("POST /v1/nolog/recognize?d=%s&c=16K HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			d, g.addr, len(audio), audio)
	},
}

func TestR1_EveryPlaceOfAKeyIsReadAndSwapped(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, key := g.issue(keystore.NewKey{})
	for name, form := range requestForms {
		t.Run(name, func(t *testing.T) {
			g.t = t
			g.backend.received()
			request := form(g, key)
			got := g.send(request)
			if got.status != http.StatusOK || !strings.Contains(got.body, "hello") {
				t.Fatalf("status %d, body %q; log:\n%s", got.status, got.body, g.log())
			}
			sent := g.backend.received()
			if strings.Contains(sent, key) || strings.Contains(sent, url.QueryEscape(key)) {
				t.Errorf("the client's key went upstream:\n%s", sent)
			}
			if n := strings.Count(sent, backendKey); n != 1 {
				t.Errorf("the backend got its key %d times, want once:\n%s", n, sent)
			}
			// All other bytes of the query and the body are as the client sent them.
			wantTarget := strings.ReplaceAll(target(request), key, backendKey)
			if target(sent) != wantTarget {
				t.Errorf("target %q, want %q", target(sent), wantTarget)
			}
			wantBody := strings.ReplaceAll(body(t, request), key, backendKey)
			if body(t, sent) != wantBody {
				t.Errorf("body %q, want %q", body(t, sent), wantBody)
			}
			if strings.Contains(request, "chunked") != strings.Contains(sent, "Transfer-Encoding: chunked") {
				t.Errorf("chunked in, but not out, or the other way round:\n%s", sent)
			}
		})
	}
}

// target returns the second word of the request line.
func target(request string) string {
	return strings.Split(request, " ")[1]
}

// body returns the body of a request, with its chunks joined.
func body(t *testing.T, request string) string {
	t.Helper()
	head, rest, ok := strings.Cut(request, "\r\n\r\n")
	if !ok {
		t.Fatalf("no body in %q", request)
	}
	if !strings.Contains(strings.ToLower(head), "transfer-encoding: chunked") {
		return rest
	}
	var out strings.Builder
	for {
		size, after, _ := strings.Cut(rest, "\r\n")
		var n int
		if _, err := fmt.Sscanf(size, "%x", &n); err != nil {
			t.Fatalf("chunk size %q: %v", size, err)
		}
		if n == 0 {
			return out.String()
		}
		out.WriteString(after[:n])
		rest = after[n+2:]
	}
}

func TestR16_RecognitionIsRefusedInTheFormOfTheAPI(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, good := g.issue(keystore.NewKey{})
	_, expired := g.expired()
	_, elsewhere := g.issue(keystore.NewKey{Allow: g.allow("203.0.113.0/24")})
	revoked, revokedKey := g.issue(keystore.NewKey{})
	if _, err := g.keys.RevokeKey(context.Background(), now(), operator, revoked.ID, "test"); err != nil {
		t.Fatal(err)
	}
	deleted, deletedKey := g.issue(keystore.NewKey{})
	if _, err := g.keys.DeleteKey(context.Background(), now(), operator, deleted.ID); err != nil {
		t.Fatal(err)
	}
	closed := g.newAccount("Closed")
	_, closedKey := g.issue(keystore.NewKey{AccountID: closed.ID})
	if _, err := g.keys.CloseAccount(context.Background(), now(), operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	paused, pausedKey := g.issue(keystore.NewKey{})
	if _, err := g.keys.SuspendKey(context.Background(), now(), operator, paused.ID, ""); err != nil {
		t.Fatal(err)
	}
	suspended := g.newAccount("Suspended")
	_, suspendedKey := g.issue(keystore.NewKey{AccountID: suspended.ID})
	if _, err := g.keys.SuspendAccount(context.Background(), now(), operator, suspended.ID, ""); err != nil {
		t.Fatal(err)
	}
	unknown, err := policy.GenerateSecret(policy.KeyPrefix, strings.NewReader(strings.Repeat("x", 100)))
	if err != nil {
		t.Fatal(err)
	}
	for reason, key := range map[policy.Reason]string{
		policy.KeyUnknown:          unknown.Reveal(),
		policy.KeyExpired:          expired,
		policy.AddressRefused:      elsewhere,
		policy.KeyRevoked:          revokedKey,
		policy.KeyDeleted:          deletedKey,
		policy.AccountClosed:       closedKey,
		policy.KeySuspended:        pausedKey,
		policy.AccountSuspended:    suspendedKey,
		policy.CredentialMalformed: good[:len(good)-1] + "!",
		policy.CredentialMissing:   "",
	} {
		for name, form := range requestForms {
			t.Run(reason.String()+"/"+name, func(t *testing.T) {
				g.t = t
				got := g.send(form(g, key))
				wantDenied(t, got)
				if sent := g.backend.received(); sent != "" {
					t.Errorf("the backend got %q", sent)
				}
				if !strings.Contains(g.log(), `"reason":"`+reason.String()+`"`) {
					t.Errorf("the log does not name the reason")
				}
			})
		}
	}
	t.Run("credential_ambiguous", func(t *testing.T) {
		g.t = t
		form := g.form("/v1/recognize", [2]string{"u", good}, [2]string{"d", "x authorization=" + expired}, [2]string{"a", audio})
		wantDenied(t, g.send(form))
		wantDenied(t, g.send(strings.Replace(g.form("/v1/recognize", [2]string{"u", good}, [2]string{"a", audio}),
			"/v1/recognize", "/v1/recognize?u="+expired, 1)))
		if sent := g.backend.received(); sent != "" {
			t.Errorf("the backend got %q", sent)
		}
	})
}

func wantDenied(t *testing.T, got reply) {
	t.Helper()
	if got.status != http.StatusOK || got.body != deniedBody {
		t.Errorf("status %d, body %q", got.status, got.body)
	}
	if got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", got.header.Get("Cache-Control"))
	}
	if !regexp.MustCompile(`\r\nX-Session-ID: [0-9a-f]{24}(\r\n|$)`).MatchString(got.raw) {
		t.Errorf("no X-Session-ID in this spelling:\n%s", got.raw)
	}
}

func TestResponseHeaderKeepsItsSpelling(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, key := g.issue(keystore.NewKey{})
	g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["X-Session-ID"] = []string{"017ac8786c5b0a0504399999"}
		_, _ = io.WriteString(w, "{}")
	})
	got := g.send(requestForms["curl's form with u"](g, key))
	if !strings.Contains(got.raw, "\r\nX-Session-ID: 017ac8786c5b0a0504399999") {
		t.Errorf("the answer's header:\n%s", got.raw)
	}
}

func TestRefusalByHeaderAndQueryReadsNoBody(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	head := "POST /v1/recognize?u=nobody&d=x HTTP/1.1\r\nHost: " + g.addr + "\r\nContent-Length: 1000000\r\n"

	t.Run("a client that waits for 100 Continue uploads nothing", func(t *testing.T) {
		conn := g.dial(t)
		if _, err := io.WriteString(conn, head+"Expect: 100-continue\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		got := readReply(t, conn)
		wantDenied(t, got)
		if strings.Contains(got.raw, "100 Continue") {
			t.Error("it was asked to go on")
		}
	})
	t.Run("a client whose Content-Type allows no key in the body uploads nothing", func(t *testing.T) {
		conn := g.dial(t)
		if _, err := io.WriteString(conn, "POST /v1/recognize?d=x HTTP/1.1\r\nHost: "+g.addr+
			"\r\nContent-Length: 1000000\r\nContent-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		got := readReply(t, conn)
		wantDenied(t, got)
		if strings.Contains(got.raw, "100 Continue") {
			t.Error("it was asked to go on")
		}
	})
	t.Run("a client that sends slowly gets the answer at once", func(t *testing.T) {
		conn := g.dial(t)
		if _, err := io.WriteString(conn, head+"\r\nfirst bytes"); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second)) // less than the drain's 5 s
		wantDenied(t, readReply(t, conn))
	})
	t.Run("a client that sends the whole body first gets the answer and no reset", func(t *testing.T) {
		const size = 12 << 20
		conn := g.dial(t)
		if _, err := fmt.Fprintf(conn, "POST /v1/recognize?u=nobody HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", g.addr, size); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(conn, io.LimitReader(zeros{}, size)); err != nil {
			t.Fatalf("sending the body: %v", err)
		}
		wantDenied(t, readReply(t, conn))
	})
	t.Run("a form with a refused key is drained", func(t *testing.T) {
		const size = 12 << 20
		request := g.form("/v1/recognize", [2]string{"u", "nobody"}, [2]string{"a", strings.Repeat("\x00", size)})
		conn := g.dial(t)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatalf("sending the body: %v", err)
		}
		wantDenied(t, readReply(t, conn))
	})
}

func TestRefusedPollLeavesTheConnectionOpen(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	conn := g.dial(t)
	for range 3 {
		if _, err := io.WriteString(conn, "GET /v1/recognitions/j HTTP/1.1\r\nHost: "+g.addr+"\r\nAuthorization: Bearer nobody\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := readReply(t, conn); got.status != http.StatusUnauthorized || got.header.Get("Connection") != "" {
			t.Fatalf("status %d, header %v", got.status, got.header)
		}
	}
}

func (g *gateway) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
