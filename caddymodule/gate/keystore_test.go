package gate

import (
	"bufio"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore"
)

// hijackable is the client's side of a connection that a handshake takes over.
type hijackable struct {
	*httptest.ResponseRecorder

	conn net.Conn
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// A reload closes the keystore after the last request and the last stream of the old configuration.
func TestR17_TheKeystoreIsOpenAsLongAsARequestUsesIt(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "virtual time, which waits for no connection to a server")
	isOpen := func(t *testing.T, store *keystore.Store) bool {
		_, _, err := store.Keys(t.Context(), keystore.KeyList{Limit: 1})
		return err == nil
	}
	for name, test := range map[string]struct {
		backend string // of the gate; the default if empty
		begin   func(*testing.T, *rig) (end func())
	}{
		"a request": {"", func(t *testing.T, g *rig) func() {
			began, finish, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				g.ask(t, g.cases()["poll"], func(w http.ResponseWriter) {
					close(began)
					<-finish
					answering(http.StatusOK, `{"status":"completed"}`)(w)
				})
			}()
			<-began
			return func() {
				close(finish)
				<-done
			}
		}},
		// The process has one list of streams. The backend name tells this stream from those of other tests.
		"a stream": {"of-this-test", func(t *testing.T, g *rig) func() {
			client, server := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				w := &hijackable{httptest.NewRecorder(), server}
				r := (&gateCase{method: http.MethodGet, target: "/v1/"}).request(w)
				maps.Copy(r.Header, handshakeRequest(t).Header)
				if err := g.gate.ServeHTTP(w, r, nil); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
			own := func(s livestream.Snapshot) bool { return s.Backend == g.gate.Backend }
			if listed := g.gate.app.Streams().List(); !slices.ContainsFunc(listed, own) {
				t.Fatalf("the stream is not in the list %+v", listed)
			}
			return func() {
				_ = client.Close()
				<-done
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRigWith(t, &Gate{UpstreamKey: backendKey, Backend: test.backend})
				w := httptest.NewRecorder()
				if g.passes(t, w, (&gateCase{method: http.MethodPost, target: "/v1/recognize?u=unknown"}).request(w)) {
					t.Fatal("an unknown key is let in")
				}
				store, err := g.gate.app.Store()
				if err != nil {
					t.Fatal(err)
				}
				end := test.begin(t, g)
				if err := g.gate.app.Cleanup(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(30 * time.Second) // within start_timeout
				if !isOpen(t, store) {
					t.Error("the keystore is closed while it is used")
				}
				end()
				time.Sleep(time.Second)
				synctest.Wait()
				if isOpen(t, store) {
					t.Error("the keystore is open after the last use")
				}
			})
		})
	}
}
