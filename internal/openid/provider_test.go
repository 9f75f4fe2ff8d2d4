package openid

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/openid/openidtest"
)

func TestProvider_IsAskedAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	down := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	const document = "/.well-known/openid-configuration"
	begin := func(asked int, away bool) {
		t.Helper()
		_, err := f.Begin(t.Context(), f.now, NewFlow(), redirect)
		if isAway(err) != away || !away && err != nil {
			t.Errorf("%v; want away: %t", err, away)
		}
		if n := f.peer.Asked(document); n != asked {
			t.Errorf("the provider was asked %d times, want %d", n, asked)
		}
	}
	f.peer.AnswerWith(down)
	begin(1, true)
	for i, wait := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		f.now = f.now.Add(time.Duration(wait)*time.Second - time.Millisecond)
		begin(i+1, true)
		f.now = f.now.Add(time.Millisecond)
		begin(i+2, true)
	}
	f.now = f.now.Add(-24 * time.Hour) // a clock that was set back locks nobody out
	begin(10, true)
	f.peer.AnswerWith(nil)
	f.now = f.now.Add(time.Minute)
	begin(11, false)
	f.peer.AnswerWith(down)
	f.now = f.now.Add(freshFor - time.Millisecond)
	begin(11, false)
	f.now = f.now.Add(time.Millisecond)
	begin(12, false) // what it said before goes on
	begin(12, false)
	f.peer.AnswerWith(nil)
	f.now = f.now.Add(time.Second)
	begin(13, false)
}

func TestProvider_MustBeOne(t *testing.T) {
	t.Parallel()
	set := func(name string, value any) func(*openidtest.Provider) {
		return func(p *openidtest.Provider) { p.Document = func(d map[string]any) { d[name] = value } }
	}
	for name, c := range map[string]struct {
		lie  func(*openidtest.Provider)
		want string
	}{
		"another issuer":              {set("issuer", "https://evil.example"), "did not match"},
		"tokens without encryption":   {set("token_endpoint", "http://id.example.com/token"), "token_endpoint"},
		"a way without encryption":    {set("authorization_endpoint", "http://id.example.com/"), "authorization_endpoint"},
		"keys without encryption":     {set("jwks_uri", "http://id.example.com/keys"), "jwks_uri"},
		"no keys":                     {set("jwks_uri", ""), "jwks_uri"},
		"userinfo without encryption": {set("userinfo_endpoint", "http://id.example.com/"), "userinfo_endpoint"},
		"a script":                    {set("authorization_endpoint", "javascript:alert(1)"), "authorization_endpoint"},
		"no way to send the secret":   {set("token_endpoint_auth_methods_supported", []string{"private_key_jwt"}), "private_key_jwt"},
		"a page": {func(p *openidtest.Provider) {
			p.AnswerWith(func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, "<html>"); return true })
		}, "decode"},
		"a redirect": {func(p *openidtest.Provider) {
			p.AnswerWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/elsewhere" {
					return false
				}
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return true
			})
		}, "302"},
		"too much": {func(p *openidtest.Provider) {
			p.AnswerWith(func(w http.ResponseWriter, _ *http.Request) bool {
				_, _ = io.WriteString(w, `{"x":"`+strings.Repeat("x", mostAnswer)+`"}`)
				return true
			})
		}, "longer than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, "")
			c.lie(f.peer)
			_, err := f.Begin(t.Context(), f.now, NewFlow(), redirect)
			if !isAway(err) || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 400 {
				t.Errorf("%v; want a short line with %q", err, c.want)
			}
			if n := f.peer.Asked("/elsewhere"); n != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

func TestProvider_ASlowAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	if f.client.Timeout != askTime {
		t.Errorf("a request may take %s, want %s", f.client.Timeout, askTime)
	}
	flow := NewFlow()
	answer := f.toProvider(flow)
	f.client.Timeout = 100 * time.Millisecond
	f.peer.AnswerWith(func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client goes
		<-r.Context().Done()
		return true
	})
	if _, err := f.finish(flow, answer); !isAway(err) {
		t.Errorf("%v, want away", err)
	}
}

func TestProvider_FewSignInsWaitAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	flow := NewFlow()
	answer := f.toProvider(flow)
	arrived, release := make(chan struct{}, mostAsking), make(chan struct{})
	f.peer.AnswerWith(func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return false
	})
	ended := make(chan error, mostAsking)
	for range mostAsking {
		go func() {
			_, err := f.finish(flow, answer)
			ended <- err
		}()
	}
	for range mostAsking {
		<-arrived
	}
	if _, err := f.finish(flow, answer); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v, want ErrBusy", err)
	}
	close(release)
	good := 0
	for range mostAsking {
		if err := <-ended; err == nil {
			good++
		}
	}
	if good != 1 {
		t.Errorf("the provider takes a code %d times", good)
	}
}
