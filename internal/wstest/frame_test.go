package wstest_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gobwas/ws"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/wstest"
)

// TestAnotherLibraryReadsWhatRawRenders has gobwas/ws as the judge.
func TestAnotherLibraryReadsWhatRawRenders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.Byte().Draw(t, "head") &^ 0x70
		mask := rapid.SampledFrom([][]byte{nil, wstest.Mask()}).Draw(t, "mask")
		payload := bytes.Repeat([]byte("abc"), rapid.SampledFrom([]int{0, 1, 41, 42, 43, 21845, 21846}).Draw(t, "length"))
		bits := rapid.SampledFrom([]int{0, 64}).Draw(t, "bits")
		raw := wstest.Raw(head, mask, bits, payload)
		r := bytes.NewReader(raw)
		h, err := ws.ReadHeader(r)
		if err != nil {
			t.Fatal(err)
		}
		read := raw[len(raw)-r.Len():]
		if read = bytes.Clone(read); h.Masked {
			ws.Cipher(read, h.Mask, 0)
		}
		want := wstest.Of(h.Fin, byte(h.OpCode), mask != nil, string(read))
		if got, err := wstest.ReadFrame(bytes.NewReader(raw)); err != nil || got != want || !bytes.Equal(read, payload) {
			t.Fatalf("read %v, %v; want %v", got, err, want)
		}
	})
}

func TestReadFrameRefusesHalfAFrame(t *testing.T) {
	t.Parallel()
	raw := wstest.Raw(wstest.Fin|wstest.OpText, wstest.Mask(), 16, []byte("text"))
	for n := range raw {
		_, err := wstest.ReadFrame(bytes.NewReader(raw[:n]))
		if n < 2 && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || n >= 2 && !errors.Is(err, wstest.ErrBroken) {
			t.Errorf("%d bytes: error %v", n, err)
		}
	}
}
