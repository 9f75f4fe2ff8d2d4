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
	return timeAt(p.next(timeLen), 0)
}

// timeAt is the time that stands there in the text.
func timeAt(text string, at int) policy.Time {
	return policy.Time(binary.BigEndian.Uint64([]byte(text[at : at+timeLen])))
}

func uint32At(text string, at int) uint32 { return binary.BigEndian.Uint32([]byte(text[at : at+4])) }

func uint16At(text string, at int) uint16 { return binary.BigEndian.Uint16([]byte(text[at : at+2])) }

func appendTime(b []byte, t policy.Time) []byte { return binary.BigEndian.AppendUint64(b, uint64(t)) }
