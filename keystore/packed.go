package keystore

import (
	"encoding/binary"

	"github.com/speechgate/speechgate/policy"
)

// parts reads a record's text from its beginning.
type parts string

// next takes off the next n bytes, which stay where they are.
func (p *parts) next(n int) string {
	part := (*p)[:n]
	*p = (*p)[n:]
	return string(part)
}

const timeLen = 8

// nextTime takes off a time, or nothing where it is not set.
func (p *parts) nextTime(set bool) policy.Time {
	if !set {
		return 0
	}
	var b [timeLen]byte
	copy(b[:], p.next(timeLen))
	return policy.Time(binary.BigEndian.Uint64(b[:]))
}

func appendTime(b []byte, t policy.Time) []byte {
	if t.IsZero() {
		return b
	}
	return binary.BigEndian.AppendUint64(b, uint64(t))
}
