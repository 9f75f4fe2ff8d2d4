package share

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// entry is a part of a report.
type entry struct {
	kind Kind
	Change
}

// reportVersion is the first byte of a report.
//
// After it, a report has entries until its end: the kind, the length of the ID, the ID, the number
// at a time, how many times in the past follow, and for each of these its age in milliseconds and
// its number of events. All numbers are varints (encoding/binary), that of events a signed one.
const reportVersion = 1

// mostIDBytes is the longest ID that a report may have. The IDs of keys and accounts have less than
// 32 bytes.
const mostIDBytes = 128

var errReport = errors.New("the report is no report of this version")

// encode returns the report with these entries, as it is sent at now.
func encode(entries []entry, now policy.Time) []byte {
	body := []byte{reportVersion}
	for i := range entries {
		e := &entries[i]
		body = binary.AppendUvarint(body, uint64(e.kind))
		body = binary.AppendUvarint(body, uint64(len(e.ID)))
		body = append(body, e.ID...)
		body = binary.AppendUvarint(body, uint64(max(e.Now, 0)))
		body = binary.AppendUvarint(body, uint64(len(e.Past)))
		for _, p := range e.Past {
			body = binary.AppendUvarint(body, uint64(max(now-p.At, 0)))
			body = binary.AppendVarint(body, int64(p.N))
		}
	}
	return body
}

// decode returns the entries of a report that was sent at the instant sent.
func decode(body []byte, sent policy.Time) ([]entry, error) {
	if len(body) == 0 || body[0] != reportVersion {
		return nil, errReport
	}
	r := reader{left: body[1:]}
	var entries []entry
	for len(r.left) > 0 && !r.bad {
		e := entry{kind: Kind(r.number(math.MaxUint8))}
		e.ID = r.text(r.number(mostIDBytes))
		e.Now = r.number(math.MaxInt32)
		for range r.number(len(r.left)) {
			age := r.number(int(Kept/time.Millisecond) * 1000)
			e.Past = append(e.Past, Past{sent - policy.Time(age), r.signed()})
			if r.bad {
				break
			}
		}
		entries = append(entries, e)
	}
	if r.bad {
		return nil, errReport
	}
	return entries, nil
}

// reader reads a report. After an error, bad is set, and what it reads means nothing.
type reader struct {
	left []byte
	bad  bool
}

// number returns the next number, which is not larger than most.
func (r *reader) number(most int) int {
	n, size := binary.Uvarint(r.left)
	if size <= 0 || n > uint64(most) {
		r.bad = true
		return 0
	}
	r.left = r.left[size:]
	return int(n)
}

// signed returns the next signed number, of 31 bits.
func (r *reader) signed() int {
	n, size := binary.Varint(r.left)
	if size <= 0 || n > math.MaxInt32 || n < -math.MaxInt32 {
		r.bad = true
		return 0
	}
	r.left = r.left[size:]
	return int(n)
}

// text returns the next n bytes.
func (r *reader) text(n int) string {
	if n > len(r.left) {
		r.bad = true
		return ""
	}
	s := string(r.left[:n])
	r.left = r.left[n:]
	return s
}
