package keystore

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Record is the result of a lookup: the key that has the secret, or no key. The zero
// Record is no key, see [Record.Found].
//
// A Record is small to copy and shares memory with the cache. See [Record.Clone].
type Record struct {
	lastUsed policy.Time // when the lookup found the record
	// packed is the key in one string, empty if there is no key:
	//   - the fields of fixed length, at the offsets below
	//   - the times of timeFlags that are set
	//   - the limits of the key and of its account, if limitFlags are set
	//   - the IDs of key, account and issuer
	//   - the entries of the address list, and their ranges
	packed string
}

// The offsets of the fields of fixed length in a packed key. The digest is at 0.
const (
	recordFlagsAt   = digestLen
	recordIDAt      = recordFlagsAt + 2 // the length of the key's ID; lengths follow
	recordAccountAt = recordIDAt + 1
	recordIssuerAt  = recordAccountAt + 1
	recordEntriesAt = recordIssuerAt + 1
	recordCreatedAt = recordEntriesAt + 4
	recordExpiresAt = recordCreatedAt + timeLen
	recordRestAt    = recordExpiresAt + timeLen
)

// recordFlags has the key's origin in its lowest two bits, and a flag in each other bit.
type recordFlags uint16

const (
	originBits    recordFlags = 1<<2 - 1
	flagOpen      recordFlags = 1 << 2 // the account is open
	flagIssuable  recordFlags = 1 << 3
	flagNever     recordFlags = 1 << 4 // the key does not expire
	flagDeleted   recordFlags = 1 << 5
	flagRevoked   recordFlags = 1 << 6
	flagScheduled recordFlags = 1 << 7
	flagSuspended recordFlags = 1 << 8  // the key itself
	flagPaused    recordFlags = 1 << 9  // the account is suspended
	flagLimits    recordFlags = 1 << 10 // the key has limits
	flagShared    recordFlags = 1 << 11 // the account has limits

	timeFlags  = flagDeleted | flagRevoked | flagScheduled | flagSuspended
	limitFlags = flagLimits | flagShared
)

func flagIf(set bool, flag recordFlags) recordFlags {
	if set {
		return flag
	}
	return 0
}

// newRecord packs a key. Its texts for people are left out: no decision needs them.
func newRecord(k *policy.Key, d digest) (Record, error) {
	entries, ranges := k.Allow.Parts()
	if max(len(k.ID), len(k.AccountID), len(k.IssuerID)) > math.MaxUint8 || uint64(len(entries)) > math.MaxUint32 {
		return Record{}, fmt.Errorf("the record of key %.40q is damaged: an ID, or the list of its addresses, is too long", k.ID)
	}
	expires, ends := k.Expires.Time()
	flags := recordFlags(k.Origin)&originBits | flagIf(k.AccountOpen, flagOpen) | flagIf(k.Issuable, flagIssuable) | flagIf(!ends, flagNever) |
		flagIf(!k.DeletedAt.IsZero(), flagDeleted) | flagIf(!k.RevokedAt.IsZero(), flagRevoked) | flagIf(!k.RevokeFrom.IsZero(), flagScheduled) |
		flagIf(!k.SuspendedAt.IsZero(), flagSuspended) | flagIf(k.AccountSuspended, flagPaused) |
		flagIf(!k.Limits.None(), flagLimits) | flagIf(!k.AccountLimits.None(), flagShared)
	b := binary.BigEndian.AppendUint16(d[:], uint16(flags))
	b = append(b, byte(len(k.ID)), byte(len(k.AccountID)), byte(len(k.IssuerID)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(entries)))
	b = appendTime(appendTime(b, k.CreatedAt), expires)
	for _, t := range [...]policy.Time{k.DeletedAt, k.RevokedAt, k.RevokeFrom, k.SuspendedAt} {
		if !t.IsZero() {
			b = appendTime(b, t)
		}
	}
	for _, l := range [...]policy.Limits{k.Limits, k.AccountLimits} {
		if !l.None() {
			b = appendLimits(b, l)
		}
	}
	return Record{k.LastUsedAt, string(b) + k.ID + k.AccountID + k.IssuerID + entries + ranges}, nil
}

// digest returns the digest by which the record is cached.
func (r *Record) digest() (d digest) {
	copy(d[:], r.packed)
	return d
}

func (r *Record) flags() recordFlags { return recordFlags(uint16At(r.packed, recordFlagsAt)) }

// Clone returns a copy with its own memory. A Record from the cache shares a large
// buffer with other records, and keeps all of the buffer in memory. Keep a Clone if you
// hold it longer than one request.
func (r Record) Clone() Record {
	r.packed = strings.Clone(r.packed)
	return r
}

// Key returns the key without its texts for people, or the zero Key if the record was not
// found.
// Its strings share memory with the record, so Key allocates nothing.
func (r *Record) Key() policy.Key {
	if !r.Found() {
		return policy.Key{}
	}
	head, rest := r.packed[:recordRestAt], parts(r.packed[recordRestAt:])
	flags := r.flags()
	k := policy.Key{
		AccountOpen: flags&flagOpen != 0,
		Origin:      policy.Origin(flags & originBits),
		Issuable:    flags&flagIssuable != 0,
		CreatedAt:   timeAt(head, recordCreatedAt),
		Expires:     policy.ExpiresAt(timeAt(head, recordExpiresAt)),
		DeletedAt:   rest.nextTime(flags&flagDeleted != 0),
		RevokedAt:   rest.nextTime(flags&flagRevoked != 0),
		RevokeFrom:  rest.nextTime(flags&flagScheduled != 0),
		SuspendedAt: rest.nextTime(flags&flagSuspended != 0),
		LastUsedAt:  r.lastUsed,

		AccountSuspended: flags&flagPaused != 0,
	}
	if flags&limitFlags != 0 {
		k.Limits, k.AccountLimits = rest.nextLimits(flags&flagLimits != 0), rest.nextLimits(flags&flagShared != 0)
	}
	if flags&flagNever != 0 {
		k.Expires = policy.Never()
	}
	k.ID = rest.next(int(head[recordIDAt]))
	k.AccountID = rest.next(int(head[recordAccountAt]))
	k.IssuerID = rest.next(int(head[recordIssuerAt]))
	entries := rest.next(int(uint32At(head, recordEntriesAt)))
	k.Allow = policy.AddrSetOf(entries, string(rest))
	return k
}

// IDs returns the IDs of the key and of its account. Both are empty if there is no key.
func (r *Record) IDs() (key, account string) {
	if !r.Found() {
		return "", ""
	}
	ids := r.ids()
	return ids.next(int(r.packed[recordIDAt])), ids.next(int(r.packed[recordAccountAt]))
}

// ids returns the packed key from the key's ID on.
func (r *Record) ids() parts {
	flags := r.flags()
	at := recordRestAt + bits.OnesCount16(uint16(flags&timeFlags))*timeLen
	if flags&limitFlags != 0 {
		at += bits.OnesCount16(uint16(flags&limitFlags)) * limitsLen
	}
	return parts(r.packed[at:])
}

// Limited reports whether the key or its account has limits.
func (r *Record) Limited() bool { return r.Found() && r.flags()&limitFlags != 0 }

func (r *Record) issuerID() string {
	ids := r.ids()
	ids.next(int(r.packed[recordIDAt]) + int(r.packed[recordAccountAt]))
	return ids.next(int(r.packed[recordIssuerAt]))
}

// Found reports whether the lookup found a key.
func (r *Record) Found() bool { return r.packed != "" }
