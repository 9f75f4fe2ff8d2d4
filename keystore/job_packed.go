package keystore

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/speechgate/speechgate/policy"
)

// jobRecord is a job as a lookup finds it: the digest, the times, lengths and state of
// which the offsets are below, backend, ID, dialect, IDs of account and key, client.
type jobRecord string

// Where things are in a job's record.
const (
	jobCreatedAt = digestLen
	jobEndedAt   = jobCreatedAt + timeLen
	jobBackendAt = jobEndedAt + timeLen // the length of that name, as what follows; the client is the rest
	jobIDAt      = jobBackendAt + 2
	jobDialectAt = jobIDAt + 2
	jobAccountAt = jobDialectAt + 1
	jobKeyAt     = jobAccountAt + 1
	jobStateAt   = jobKeyAt + 1
	jobRestAt    = jobStateAt + 1
)

func newJobRecord(j *policy.Job, d digest) (jobRecord, error) {
	if max(len(j.Backend), len(j.ID)) > math.MaxUint16 || max(len(j.Dialect), len(j.AccountID), len(j.KeyID)) > math.MaxUint8 {
		return "", fmt.Errorf("the record of job %.40q of backend %.40q is damaged: a name is too long", j.ID, j.Backend)
	}
	b := appendTime(appendTime(d[:], j.CreatedAt), j.EndedAt)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(len(j.Backend))), uint16(len(j.ID)))
	b = append(b, byte(len(j.Dialect)), byte(len(j.AccountID)), byte(len(j.KeyID)), byte(j.State))
	return jobRecord(string(b) + j.Backend + j.ID + j.Dialect + j.AccountID + j.KeyID + packAddr(j.Client)), nil
}

// job returns the job. Its strings are the record's own.
func (r jobRecord) job() policy.Job {
	head, rest := string(r[:jobRestAt]), parts(r[jobRestAt:])
	j := policy.Job{CreatedAt: timeAt(head, jobCreatedAt), EndedAt: timeAt(head, jobEndedAt), State: policy.JobState(head[jobStateAt])}
	j.Backend = rest.next(int(uint16At(head, jobBackendAt)))
	j.ID = rest.next(int(uint16At(head, jobIDAt)))
	j.Dialect = rest.next(int(head[jobDialectAt]))
	j.AccountID = rest.next(int(head[jobAccountAt]))
	j.KeyID = rest.next(int(head[jobKeyAt]))
	j.Client = unpackAddr(string(rest))
	return j
}

// packAddr is the bytes of an address and its zone, empty for an invalid one.
func packAddr(a netip.Addr) string { return string(a.AsSlice()) + a.Zone() }

// unpackAddr is the reverse. Only an address with a zone allocates.
func unpackAddr(s string) netip.Addr {
	switch {
	case len(s) == net.IPv4len:
		var b [net.IPv4len]byte
		copy(b[:], s)
		return netip.AddrFrom4(b)
	case len(s) >= net.IPv6len:
		var b [net.IPv6len]byte
		copy(b[:], s)
		return netip.AddrFrom16(b).WithZone(s[net.IPv6len:])
	}
	return netip.Addr{}
}
