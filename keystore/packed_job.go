package keystore

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/speechgate/speechgate/policy"
)

// packedJob is a job in one string:
//   - the fields of fixed length, at the offsets below
//   - the name of the backend, the job's ID, the name of the dialect
//   - the IDs of account and key
//   - the client's address
type packedJob string

// The offsets of the fields of fixed length in a packed job. The digest is at 0.
const (
	jobCreatedAt  = digestLen
	jobEndedAt    = jobCreatedAt + timeLen
	jobBackendAt  = jobEndedAt + timeLen // the length of the backend's name; lengths follow
	jobIDAt       = jobBackendAt + 2
	jobDialectAt  = jobIDAt + 2
	jobAccountAt  = jobDialectAt + 1
	jobKeyAt      = jobAccountAt + 1
	jobStateAt    = jobKeyAt + 1
	jobUpstreamAt = jobStateAt + 1 // the fingerprint of the upstream key
	jobRestAt     = jobUpstreamAt + fingerprintLen
)

func packJob(j *policy.Job, d digest) (packedJob, error) {
	if max(len(j.Backend), len(j.ID)) > math.MaxUint16 || max(len(j.Dialect), len(j.AccountID), len(j.KeyID)) > math.MaxUint8 {
		return "", fmt.Errorf("the record of job %.40q of backend %.40q is damaged: a name is too long", j.ID, j.Backend)
	}
	b := appendTime(appendTime(d[:], j.CreatedAt), j.EndedAt)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(len(j.Backend))), uint16(len(j.ID)))
	b = append(b, byte(len(j.Dialect)), byte(len(j.AccountID)), byte(len(j.KeyID)), byte(j.State))
	b = binary.BigEndian.AppendUint32(b, uint32(j.UpstreamKey))
	return packedJob(string(b) + j.Backend + j.ID + j.Dialect + j.AccountID + j.KeyID + packAddr(j.Client)), nil
}

// job unpacks the job. Its strings share memory with the packed job.
func (r packedJob) job() policy.Job {
	head, rest := string(r[:jobRestAt]), parts(r[jobRestAt:])
	j := policy.Job{CreatedAt: timeAt(head, jobCreatedAt), EndedAt: timeAt(head, jobEndedAt), State: policy.JobState(head[jobStateAt]), UpstreamKey: policy.Fingerprint(uint32At(head, jobUpstreamAt))}
	j.Backend = rest.next(int(uint16At(head, jobBackendAt)))
	j.ID = rest.next(int(uint16At(head, jobIDAt)))
	j.Dialect = rest.next(int(head[jobDialectAt]))
	j.AccountID = rest.next(int(head[jobAccountAt]))
	j.KeyID = rest.next(int(head[jobKeyAt]))
	j.Client = unpackAddr(string(rest))
	return j
}

// accountID returns the ID of the job's account. It is faster than job.
func (r packedJob) accountID() string {
	rest := r[jobRestAt+int(uint16At(string(r), jobBackendAt))+int(uint16At(string(r), jobIDAt))+int(r[jobDialectAt]):]
	return string(rest[:r[jobAccountAt]])
}

// packAddr returns the bytes of an address, followed by its zone. It returns "" for the
// zero Addr.
func packAddr(a netip.Addr) string { return string(a.AsSlice()) + a.Zone() }

// unpackAddr is the reverse of packAddr. It allocates only for an address with a zone.
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
