//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/speechgate/speechgate"
)

// asCaddy in the environment makes the program of these tests Caddy with Speechgate.
const asCaddy = "BENCH_AS_CADDY=1"

func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(asCaddy, "="); os.Getenv(name) == value {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// newSuite returns a suite with short runs, whose proxies are the program of this test.
func newSuite(t *testing.T) *suite {
	t.Helper()
	s := &suite{ctx: t.Context(), dir: t.TempDir(), pairs: 1, length: 20 * time.Millisecond, keys: 100, env: []string{asCaddy}}
	s.bin = s.dir
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gate", "plain"} {
		if err := os.Symlink(program, filepath.Join(s.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	if s.some, err = fill(s.ctx, s.dir, s.keys, s.keys, func(string, ...any) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stopAll)
	return s
}

// The event loop holds that each answer has the expected body, and that the backend gets the header line
// with the upstream key and no client's key. It waits for one answer of each connection, however short the run.
func TestCases_OfOtherAPIsWork(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	for _, test := range []struct {
		name string
		rows int
	}{
		{"openai-form", 2},
		{"openai-upload", 2},
		{"openai-sse", 2},
		{"assemblyai-poll", 2},
		{"assemblyai-create", 2},
		{"assemblyai-list", 4},
		{"deepgram-stream", 4},
	} {
		chosen, err := choose(test.name)
		if err != nil {
			t.Fatal(err)
		}
		s.rows = nil
		if err := s.runCase(chosen[0]); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if len(s.rows) != test.rows {
			t.Errorf("%s: %d rows, want %d", test.name, len(s.rows), test.rows)
		}
	}
}

// Without the gate, the checks of the cases fail.
func TestCases_NeedTheGate(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	var err error
	if s.loop, err = newLoop(backend{list: transcriptList(s.some.uuids[:2], assemblyHost)}); err != nil {
		t.Fatal(err)
	}
	defer s.loop.end()
	p, err := s.start(plainSite(), s.loop.addr)
	if err != nil {
		t.Fatal(err)
	}
	key := s.some.keys[0]
	list := []byte("GET /v2/transcript?limit=2 HTTP/1.1\r\n" + hostLine + "\r\n")
	for _, test := range []struct {
		name, key, answer, want string
		request                 []byte
	}{
		{"OpenAI without the upstream key", openAIKey, "", "without the backend's key", openAIForm(openAIPath, upstreamKey[1:], 100)},
		{"OpenAI with both keys", openAIKey, "", "got a client's key", openAIForm(openAIPath, key+openAIKey[:len(openAIKey)-2], 100)},
		{"AssemblyAI without the upstream key", assemblyKey, "", "without the backend's key", transcriptPoll(nil, s.some.uuids[0], "Bearer "+upstreamKey)},
		{"a list with an entry too many", "", transcriptList(s.some.uuids[:1], assemblyHost), "of the answer that was expected", list},
		{"a list with links to the vendor", "", transcriptList(s.some.uuids[:2], benchHost), "of the answer that was expected", list},
		{"events that lack one", "", strings.Repeat(eventText, eventCount) + eventEnd, "of the answer that was expected", openAIForm(openAIStreamPath, key, 100)},
		{"a shorter answer", "", openAIText + " ", "bytes, where", openAIForm(openAIPath, key, 100)},
	} {
		p.key, p.answer = test.key, nil
		if test.answer != "" {
			p.answer = []byte(test.answer)
		}
		_, err := s.play(p, plan{conns: 1, next: once(test.request), classes: []class{answered}, length: time.Nanosecond})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		s.loop.err = nil
	}

	addr, stop, err := echo(t.Context(), upstreamKey)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if p, err = s.start(plainSite(), addr); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openKeyedStream(p, key); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("Deepgram without the upstream key: %v", err)
	}
}

// The list of the case is JSON with the entries and the links that it was asked for.
func TestTranscriptList_IsJSON(t *testing.T) {
	t.Parallel()
	for _, ids := range [][]string{nil, {uuid(1)}, {uuid(1), uuid(2)}} {
		var list struct {
			Transcripts []struct {
				ID  string `json:"id"`
				URL string `json:"resource_url"`
			} `json:"transcripts"`
		}
		if err := json.Unmarshal([]byte(transcriptList(ids, benchHost)), &list); err != nil || len(list.Transcripts) != len(ids) {
			t.Fatalf("%d entries of %d, %v", len(list.Transcripts), len(ids), err)
		}
		for i, entry := range list.Transcripts {
			if entry.ID != ids[i] || entry.URL != benchHost+"/v2/transcript/"+ids[i] {
				t.Errorf("entry %d is %+v", i, entry)
			}
		}
	}
}

func TestBody_ChunksEndWhereTheyEnd(t *testing.T) {
	t.Parallel()
	head := []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	const text = "5\r\nhello\r\n20\r\n, this is a longer text in chunk\r\n0\r\n\r\nnext"
	for size := 1; size <= len(text); size++ {
		b, err := bodyOf(head, true)
		if err != nil {
			t.Fatal(err)
		}
		var content []byte
		rest := []byte(text)
		for !b.ended() {
			taken, part, err := b.next(rest[:min(size, len(rest))])
			if err != nil || taken == 0 {
				t.Fatalf("pieces of %d bytes: %d taken, %v", size, taken, err)
			}
			content, rest = append(content, part...), rest[taken:]
		}
		if string(content) != "hello, this is a longer text in chunk" || string(rest) != "next" {
			t.Errorf("pieces of %d bytes: %q, then %q", size, content, rest)
		}
	}
	for _, bad := range []string{"x\r\n", "5;a=b\r\nhello", "123456789\r\n", "0\r\nTrailer: x\r\n\r\n"} {
		b := body{chunked: true}
		if _, _, err := b.next([]byte(bad)); err == nil {
			t.Errorf("%q is taken for chunks", bad)
		}
	}
}
