package e2e_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/internal/wstest"
)

// What streams are told that are refused, and that are cut.
const (
	deniedStart = "s received illegal service authorization"
	failedStart = "s can't connect to recognizer server"
	cutText     = "p can't feed audio data to recognizer server"
)

// library is a client as the vendor's libraries are: no version in the handshake,
// no masks, one frame one message.
type library struct {
	*wstest.Peer
	t       *testing.T
	stopped atomic.Bool
}

// stream opens a connection, with the first command in the segment of the
// handshake.
func (p *program) stream(command string, headers ...string) *library {
	p.t.Helper()
	host := strings.TrimPrefix(p.base, "http://")
	addr := strings.Replace(host, "localhost", "127.0.0.1", 1)
	peer := wstest.Dial(p.t, addr, wstest.LibraryHandshake("/v1/", host, headers...), wstest.RawText(command))
	return &library{t: p.t, Peer: peer.Upgraded()}
}

// startWith is a start command as the vendor's libraries send it.
func startWith(key string) string {
	return `s 16K -a-general profileWords="x authorization=FAKE" authorization=` + key
}

func (l *library) audio(p []byte) error { return l.SendBinary(append([]byte{'p'}, p...)) }

// feed sends a recording, and the end of it.
func (l *library) feed() {
	l.t.Helper()
	for piece := range slices.Chunk(sandbox.SpeechWAV(), 4096) {
		if err := l.audio(piece); err != nil {
			l.t.Fatal(err)
		}
	}
	l.SendText("e")
}

// goOn feeds until it is stopped, as a microphone does.
func (l *library) goOn() {
	for piece := range slices.Chunk(slices.Repeat(sandbox.SpeechWAV(), 20), 4096) {
		if l.stopped.Load() || l.audio(piece) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop is what the libraries do when they hear of a failure.
func (l *library) stop() { l.stopped.Store(true) }

// recognized checks what came between s and e.
func recognized(t *testing.T, events []string) {
	t.Helper()
	kinds := make(map[string]int)
	final := ""
	for _, event := range events {
		kind, rest, _ := strings.Cut(event, " ")
		kinds[kind]++
		if kind == "A" {
			final = rest
		}
	}
	var answer struct{ Text, Code string }
	err := json.Unmarshal([]byte(final), &answer)
	if err != nil || kinds["A"] != 3 || kinds["S"] != 3 || kinds["E"] != 3 || answer.Code != "" || !strings.Contains(answer.Text, "3.65-5.15 s of 16000 Hz mono") {
		t.Errorf("the events are %q, and the final result %q, %v", events, final, err)
	}
}
