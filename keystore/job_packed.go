package keystore

import (
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/speechgate/speechgate/policy"
)

// jobRecord is a job as a lookup finds it.
type jobRecord struct {
	jobEntry

	text string // backend, ID, dialect, IDs of account and key, client
}

// jobEntry is a job as the cache keeps it beside its digest and its text. It has no
// pointers.
type jobEntry struct {
	created policy.Time
	ended   policy.Time
	backend uint16 // the length of that part of the text, as what follows; the client is the rest
	id      uint16
	dialect uint8
	account uint8
	key     uint8
	state   policy.JobState
}

func newJobRecord(j *policy.Job) (jobRecord, error) {
	if max(len(j.Backend), len(j.ID)) > math.MaxUint16 || max(len(j.Dialect), len(j.AccountID), len(j.KeyID)) > math.MaxUint8 {
		return jobRecord{}, fmt.Errorf("the record of job %.40q of backend %.40q is damaged: a name is too long", j.ID, j.Backend)
	}
	return jobRecord{jobEntry{
		created: j.CreatedAt, ended: j.EndedAt, state: j.State,
		backend: uint16(len(j.Backend)), id: uint16(len(j.ID)), dialect: uint8(len(j.Dialect)),
		account: uint8(len(j.AccountID)), key: uint8(len(j.KeyID)),
	}, j.Backend + j.ID + j.Dialect + j.AccountID + j.KeyID + packAddr(j.Client)}, nil
}

// job returns the job. Its strings are the record's own.
func (r *jobRecord) job() policy.Job {
	text := parts(r.text)
	j := policy.Job{CreatedAt: r.created, State: r.state, EndedAt: r.ended}
	j.Backend = text.next(int(r.backend))
	j.ID = text.next(int(r.id))
	j.Dialect = text.next(int(r.dialect))
	j.AccountID = text.next(int(r.account))
	j.KeyID = text.next(int(r.key))
	j.Client = unpackAddr(string(text))
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
