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

// limitsLen is the length of packed limits: six numbers.
const limitsLen = 6 * 4

func appendLimits(b []byte, l policy.Limits) []byte {
	for _, v := range [limitsLen / 4]uint32{uint32(l.Operations), l.Requests, l.Concurrent, l.Streams, l.AudioDay, l.AudioTotal} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// nextLimits returns the next limits. If set is false the record does not have them, and
// nextLimits returns no limits.
func (p *parts) nextLimits(set bool) policy.Limits {
	if !set {
		return policy.Limits{}
	}
	text := p.next(limitsLen)
	return policy.Limits{
		Operations: policy.OperationSet(uint32At(text, 0)),
		Requests:   uint32At(text, 4),
		Concurrent: uint32At(text, 8),
		Streams:    uint32At(text, 12),
		AudioDay:   uint32At(text, 16),
		AudioTotal: uint32At(text, 20),
	}
}
