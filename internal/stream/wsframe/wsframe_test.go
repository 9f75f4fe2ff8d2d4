package wsframe_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/gobwas/ws"

	"github.com/speechgate/speechgate/internal/stream/wsframe"
	"github.com/speechgate/speechgate/internal/wstest"
)

// checkHeader holds that a header is read as gobwas/ws reads it, that writing the
// header and reading it again gives the same header, and that the bytes are the
// same if the length had the shortest form.
func checkHeader(t *testing.T, b []byte) {
	t.Helper()
	b = slices.Clip(b)
	size := wsframe.HeaderSize(b)
	if len(b) < size {
		return
	}
	h, err := wsframe.Parse(b)
	r := bytes.NewReader(b)
	want, wantErr := ws.ReadHeader(r)
	if (wantErr != nil) != errors.Is(err, wsframe.ErrLength) {
		t.Fatalf("% x: %v; another library says %v", b, err, wantErr)
	}
	if wantErr != nil {
		return
	}
	if read := len(b) - r.Len(); read != size {
		t.Fatalf("% x: a header of %d bytes; another library reads %d", b, size, read)
	}
	if h != (wsframe.Header{Fin: want.Fin, Opcode: wsframe.Opcode(want.OpCode), Masked: want.Masked, Mask: want.Mask, Length: want.Length}) {
		t.Fatalf("% x: %+v; another library reads %+v", b, h, want)
	}
	reserved := want.Rsv != 0 || want.OpCode.IsReserved()
	control := want.OpCode.IsControl() && (!want.Fin || want.Length > 125)
	if reserved != errors.Is(err, wsframe.ErrReserved) || !reserved && control != errors.Is(err, wsframe.ErrControl) {
		t.Fatalf("% x: %v for %+v", b, err, want)
	}
	if err != nil {
		return
	}
	written := wsframe.Append(nil, h)
	again, err := wsframe.Parse(written)
	if err != nil || again != h || wsframe.HeaderSize(written) != len(written) {
		t.Fatalf("% x: written as % x, and read as %+v, %v", b, written, again, err)
	}
	var judge bytes.Buffer
	if err := ws.WriteHeader(&judge, want); err != nil || !bytes.Equal(judge.Bytes(), written) {
		t.Fatalf("% x: written as % x; another library writes % x, %v", b, written, judge.Bytes(), err)
	}
	if len(written) == size && !bytes.Equal(written, b[:size]) {
		t.Fatalf("% x: written as % x", b[:size], written)
	}
}

func TestHeadersAreReadAndWrittenAsAnotherLibraryDoes(t *testing.T) {
	t.Parallel()
	for first := range 256 {
		for _, length := range [][]byte{
			{0},
			{1},
			{125},
			{126, 0, 0},
			{126, 0, 125},
			{126, 0, 126},
			{126, 255, 255},
			{127, 0, 0, 0, 0, 0, 0, 255, 255},
			{127, 0, 0, 0, 0, 0, 1, 0, 0},
			{127, 0x7f, 255, 255, 255, 255, 255, 255, 255},
			{127, 0x80, 0, 0, 0, 0, 0, 0, 0},
		} {
			b := append([]byte{byte(first)}, length...)
			checkHeader(t, b)
			b[1] |= 0x80
			checkHeader(t, append(b, 1, 2, 3, 4))
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, seed := range [][]byte{
		{0x81, 0x85, 1, 2, 3, 4}, {0x02, 126, 1, 0}, {0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 9, 8, 7, 6}, {0x88, 2}, {0x09, 0}, {0xC1, 126, 0, 0}, {0x8A, 127},
	} {
		f.Add(seed)
	}
	f.Fuzz(checkHeader)
}

// TestMasksAreThoseOfTheStandard has RFC 6455, section 5.3, as the judge.
func TestMasksAreThoseOfTheStandard(t *testing.T) {
	t.Parallel()
	mask := wstest.Mask()
	for n := range 200 {
		for offset := range 4 {
			room := make([]byte, n+64)
			for i := range room {
				room[i] = byte(i * 7)
			}
			want := slices.Clone(room)
			for i := range n {
				want[32+i] ^= mask[(i+offset)%4]
			}
			wsframe.Mask(room[32:32+n], [4]byte(mask), offset)
			if !slices.Equal(room, want) {
				t.Fatalf("%d bytes at %d come out wrong", n, offset)
			}
		}
	}
}

func TestAWholeFrameIsReadByAnotherDecoder(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte("x"), n)
		f, err := wstest.ReadFrame(bytes.NewReader(wsframe.Final(wsframe.Text, payload)))
		if err != nil || f != wstest.Text(string(payload)) {
			t.Errorf("%d bytes: %v, %v", n, f, err)
		}
	}
	for payload, want := range map[string]string{"": "", "\x03": "", "\x03\xe8": "\x03\xe8", "\x03\xe8bye": "\x03\xe8"} {
		f, err := wstest.ReadFrame(bytes.NewReader(wsframe.CloseReply([]byte(payload))))
		if err != nil || f != wstest.Of(true, wstest.OpClose, false, want) {
			t.Errorf("the answer to %q: %v, %v", payload, f, err)
		}
	}
}

func TestACloseScannerFindsACloseFrameAndNothingElse(t *testing.T) {
	t.Parallel()
	closeFrame := wstest.Raw(0x88, wstest.Mask(), 0, []byte{3, 232})
	before := slices.Concat([]byte("\x88\x00 of a payload"), wstest.Raw(0x82, wstest.Mask(), 16, []byte("p\x88\x00")), wstest.RawText("\x88\x00"))
	const payloadLeft = int64(len("\x88\x00 of a payload"))
	for at := range before {
		s := wsframe.NewCloseScanner(payloadLeft)
		if s.Scan(before[:at]) || s.Scan(before[at:]) {
			t.Errorf("cut at %d: found a Close frame in % x", at, before)
		}
		if !s.Scan(closeFrame) || !s.Scan(nil) {
			t.Errorf("cut at %d: found no Close frame", at)
		}
	}
	s := wsframe.NewCloseScanner(0)
	if s.Scan(wstest.Raw(0xF1, nil, 0, nil)) || s.Scan(closeFrame) {
		t.Error("found a Close frame in what is not frames")
	}
}
