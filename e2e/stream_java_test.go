package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTheJDKStreams has java.net.http's WebSocket send commands as it does: in
// fragments, where they are longer than 16 KiB.
func TestTheJDKStreams(t *testing.T) {
	t.Parallel()
	p, _ := newStreamProgram(t, "")
	_, key := p.key(p.account())
	url := strings.Replace(p.base, "http://localhost", "ws://127.0.0.1", 1) + "/v1/"
	cmd := javaCommand(t, "Stream.java", url, key, filepath.Join("..", "internal", "sandbox", "speech.wav"))
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\nthe gateway's output:\n%s", err, out, p.output)
	}
	_, sessions, _ := strings.Cut(string(out), "pong early\n")
	both := strings.Split(strings.TrimSuffix(sessions, "\ne\n"), "\ne\n")
	if len(both) != 2 {
		t.Fatalf("it prints %s", out)
	}
	for _, session := range both {
		events := strings.Split(session, "\n")
		if events[0] != "s" {
			t.Errorf("a session begins with %q", events[0])
		}
		recognized(t, events[1:])
	}
	p.kept(key)
}
