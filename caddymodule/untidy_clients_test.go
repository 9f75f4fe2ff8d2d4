package caddymodule_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// Real clients send forms with file names with backslashes and quotation marks, in UTF-8 and
// Windows-31J, with line breaks in d, and with files in place of values.
func TestR19_RealClientsUntidyFormsPass(t *testing.T) {
	dir := t.TempDir()
	sound, engine := filepath.Join(dir, "\"音\\声\".wav"), filepath.Join(dir, "d.txt")
	for file, text := range map[string]string{sound: "RIFF and so on", engine: "-a-general\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{})
	target := "http://" + g.addr + "/v1/recognize"
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(sound) // as curl's option wants it
	for _, client := range []struct {
		name, program string
		args          []string
		sent          string // among what the backend gets
	}{
		{"a file from its path", "curl", []string{"-sS", "-F", "u=" + secret, "-F", "d=<" + engine, "-F", `a=@"` + quoted + `"`, target}, "name=\"d\"\r\n\r\n-a-general\n\r\n"},
		{"a file name in Windows-31J", "curl", []string{"-sS", "-F", "u=" + secret, "-F", "a=@" + engine + ";filename=\x97\x5c\x8e\x5a\x95\x5c", target}, "filename=\"\x97\x5c\x8e\x5a\x95\x5c\""},
		{"the key as a file", "curl", []string{"-sS", "-F", "u=" + secret + ";filename=u;type=multipart/form-data", "-F", "a=@" + engine, target}, "filename=\"u\""},
		{"the key in the header", "curl", []string{"-sS", "-H", "Authorization: Bearer " + secret, "-F", "d=-a-general", "-F", "a=@" + engine, target}, "Authorization: Bearer " + backendKey},
		{"raw audio without a label", "curl", []string{"-sS", "-H", "Content-Type:", "--data-binary", "@" + engine, target + "?u=" + url.QueryEscape(secret)}, "Content-Type: application/octet-stream"},
		{"raw audio labelled urlencoded", "curl", []string{"-sS", "--data-binary", "@" + engine, target + "?u=" + url.QueryEscape(secret)}, "Content-Type: application/octet-stream"},
		{"FormData", "node", []string{"testdata/clients/upload.mjs", target, secret}, `filename="C:\予算\%22表%22.wav"`},
		{"a form by hand", "java", []string{"testdata/clients/Upload.java", target, secret}, "filename=\"C:\\\x97\x5c\x8e\x5a\\\x94\x5c\x97\xcd\x95\x5c\"; name=\"a\""},
		{"all fields as files", "python3", []string{"testdata/clients/upload.py", target, secret}, `name="u"; filename="u"`},
	} {
		t.Run(client.program+": "+client.name, func(t *testing.T) {
			g.t = t
			if _, err := exec.LookPath(client.program); err != nil {
				if os.Getenv("CI") != "" {
					t.Fatalf("there is no %s on the PATH, and with CI set there must be", client.program)
				}
				t.Skipf("there is no %s on the PATH", client.program)
			}
			g.backend.received()
			out, err := exec.CommandContext(t.Context(), client.program, client.args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "hello") {
				t.Fatalf("the client got %q, %v; log:\n%s", out, err, g.log())
			}
			sent := g.backend.received()
			if !strings.Contains(sent, client.sent) {
				t.Errorf("the backend got\n%s\nwithout %q", sent, client.sent)
			}
			if strings.Contains(sent, secret) || strings.Count(sent, backendKey) != 1 {
				t.Errorf("the client's key went upstream, or the backend's not once:\n%s", sent)
			}
		})
	}
}
