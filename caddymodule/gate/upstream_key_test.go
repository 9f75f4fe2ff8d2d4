package gate

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestR18_SecretsFromFiles(t *testing.T) {
	for text, want := range map[string]string{
		"the-key-of-the-backend":           "",
		"the-key-of-the-backend\n":         "",
		"the-key-of-the-backend\r\n":       "",
		"the-key-of-the-backend\n\n":       "begins or ends with a space or a line break",
		"the-key-of-the-backend \n":        "begins or ends with a space or a line break",
		"\ufeffthe-key-of-the-backend\r\n": "byte order mark",
		"\n":                               "is not set, is empty or cannot be read",
	} {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		gate := &Gate{UpstreamKey: "{file." + file + "}"}
		err := gate.provisionUpstream()
		switch {
		case want == "" && (err != nil || gate.upstream.Key.Reveal() != "the-key-of-the-backend"):
			t.Errorf("%q: error %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

// A poll of a job of an old upstream key costs as many allocations as any other poll, and goes out with
// the old key.
func TestUpstreamKeys_AnOldKeyMakesNoMoreGarbage(t *testing.T) {
	g := newRigWith(t, &Gate{UpstreamKey: "a-newer-key-of-the-backend", OldUpstreamKeys: []string{backendKey, "the-oldest-key-of-the-backend"}})
	store, err := g.gate.app.Store()
	if err != nil {
		t.Fatal(err)
	}
	job, err := store.Job(t.Context(), "amivoice", "j1")
	if err != nil {
		t.Fatal(err)
	}
	for index, id := range []string{"of-the-new-key", "of-the-old-key", "of-the-oldest-key"} {
		job.ID, job.UpstreamKey = id, g.gate.fingerprints(store).Of(index)
		if err := store.CreateJob(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		c := *g.cases()["poll"]
		c.target = "/v2/recognitions/" + id
		w := &quiet{header: make(http.Header)}
		var sent string
		r := c.request(w)
		if err := g.gate.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			sent = r.Header.Get("Authorization")
			return nil
		})); err != nil || sent != "Bearer "+g.gate.keys[index].Reveal() {
			t.Errorf("%s: error %v, and the request has another key", id, err)
		}
		bare := testing.AllocsPerRun(100, func() { g.serve(t, &c, false) })
		if added := testing.AllocsPerRun(100, func() { g.serve(t, &c, true) }) - bare; added > 5+raceAllocations {
			t.Errorf("%s: %v allocations, want at most %v", id, added, 5+raceAllocations)
		}
	}
}
