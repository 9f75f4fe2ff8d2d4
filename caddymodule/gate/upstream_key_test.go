package gate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
