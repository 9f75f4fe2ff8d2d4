package dialect

import (
	"strings"
	"testing"
)

const pollAnswer = `{"status":"processing","session_id":"0123456789abcdef01234567","service_id":"bench","audio_size":112044}`

func BenchmarkMembers(b *testing.B) {
	for name, answer := range map[string]string{
		"at the start": pollAnswer,
		"behind 1 MiB": `{"segments":["` + strings.Repeat("speech ", 1<<20/7) + `"],"status":"completed"}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(answer)))
			text := []byte(answer)
			for b.Loop() {
				if state := readState(b, text); state == "" {
					b.Fatal("no state")
				}
			}
		})
	}
}

func readState(tb testing.TB, answer []byte) string {
	m := new(Members)
	m.Begin("status")
	_, _ = m.Write(answer)
	state, err := m.Get("status")
	if err != nil {
		tb.Fatal(err)
	}
	return state
}

// The two allocations are the reader and the state.
func TestMembers_allocatesLittle(t *testing.T) { //nolint:paralleltest // measures allocations
	answer := []byte(pollAnswer)
	if n := testing.AllocsPerRun(100, func() { readState(t, answer) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
