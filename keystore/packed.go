package keystore

import (
	"encoding/binary"

	"github.com/speechgate/speechgate/policy"
)

// parts reads the fields of a packed record from its beginning.
type parts string

// next returns the next n bytes. They share memory with the record.
func (p *parts) next(n int) string {
	part := (*p)[:n]
	*p = (*p)[n:]
	return string(part)
}

const timeLen = 8

// nextTime returns the next time. If set is false the record does not have it, and
// nextTime returns zero.
func (p *parts) nextTime(set bool) policy.Time {
	if !set {
		return 0
	}
	return timeAt(p.next(timeLen), 0)
}

// timeAt returns the time at that offset of a packed record.
func timeAt(packed string, at int) policy.Time {
	return policy.Time(binary.BigEndian.Uint64([]byte(packed[at : at+timeLen])))
}

func uint32At(packed string, at int) uint32 {
	return binary.BigEndian.Uint32([]byte(packed[at : at+4]))
}

func uint16At(packed string, at int) uint16 {
	return binary.BigEndian.Uint16([]byte(packed[at : at+2]))
}

func appendTime(b []byte, t policy.Time) []byte { return binary.BigEndian.AppendUint64(b, uint64(t)) }
