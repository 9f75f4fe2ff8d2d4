package keystore

import (
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Record is a key as a lookup finds it. The zero value is none.
type Record struct {
	digest digest
	recordEntry

	text string // the times of timeFlags that are set, IDs of key, account and issuer, allowed entries, their ranges
}

// recordEntry is a record as the cache keeps it beside its digest and its text. It
// has no pointers.
type recordEntry struct {
	noted   policy.Time // the last use that was noted when the record was found
	created policy.Time
	expires policy.Time
	entries uint32 // the length of that part of the text, as what follows
	id      uint8
	account uint8
	issuer  uint8
	flags   recordFlags
}

// recordFlags are the origin, in the lowest two bits, and what else is yes or no.
type recordFlags uint8

const (
	originBits    recordFlags = 1<<2 - 1
	flagOpen      recordFlags = 1 << 2 // the account is
	flagIssuable  recordFlags = 1 << 3
	flagNever     recordFlags = 1 << 4 // it does not expire
	flagDeleted   recordFlags = 1 << 5
	flagRevoked   recordFlags = 1 << 6
	flagScheduled recordFlags = 1 << 7

	timeFlags = flagDeleted | flagRevoked | flagScheduled
)

func flagIf(set bool, flag recordFlags) recordFlags {
	if set {
		return flag
	}
	return 0
}

func newRecord(k *policy.Key, d digest) (Record, error) {
	entries, ranges := k.Allow.Parts()
	if max(len(k.ID), len(k.AccountID), len(k.IssuerID)) > math.MaxUint8 || uint64(len(entries)) > math.MaxUint32 {
		return Record{}, fmt.Errorf("the record of key %.40q is damaged: an ID, or the list of its addresses, is too long", k.ID)
	}
	expires, ends := k.Expires.Time()
	r := Record{digest: d, recordEntry: recordEntry{
		noted: k.LastUsedAt, created: k.CreatedAt, expires: expires,
		entries: uint32(len(entries)),
		id:      uint8(len(k.ID)), account: uint8(len(k.AccountID)), issuer: uint8(len(k.IssuerID)),
		flags: recordFlags(k.Origin)&originBits | flagIf(k.AccountOpen, flagOpen) | flagIf(k.Issuable, flagIssuable) | flagIf(!ends, flagNever) |
			flagIf(!k.DeletedAt.IsZero(), flagDeleted) | flagIf(!k.RevokedAt.IsZero(), flagRevoked) | flagIf(!k.RevokeFrom.IsZero(), flagScheduled),
	}}
	var room [3 * timeLen]byte
	times := room[:0]
	for _, t := range [...]policy.Time{k.DeletedAt, k.RevokedAt, k.RevokeFrom} {
		times = appendTime(times, t)
	}
	r.text = string(times) + k.ID + k.AccountID + k.IssuerID + entries + ranges
	return r, nil
}

// Detached is the record for whoever keeps it for long. The texts of others stand
// beside its own in memory, and would be kept with them.
func (r Record) Detached() Record {
	r.text = strings.Clone(r.text)
	return r
}

// Key returns what the record says of the key: all but its label and prefix,
// which no decision needs. Its strings are the record's own, so that this
// allocates nothing.
func (r *Record) Key() policy.Key {
	text := parts(r.text)
	k := policy.Key{
		AccountOpen: r.flags&flagOpen != 0,
		Origin:      policy.Origin(r.flags & originBits),
		Issuable:    r.flags&flagIssuable != 0,
		CreatedAt:   r.created,
		Expires:     policy.ExpiresAt(r.expires),
		DeletedAt:   text.nextTime(r.flags&flagDeleted != 0),
		RevokedAt:   text.nextTime(r.flags&flagRevoked != 0),
		RevokeFrom:  text.nextTime(r.flags&flagScheduled != 0),
		LastUsedAt:  r.noted,
	}
	if r.flags&flagNever != 0 {
		k.Expires = policy.Never()
	}
	k.ID = text.next(int(r.id))
	k.AccountID = text.next(int(r.account))
	k.IssuerID = text.next(int(r.issuer))
	entries := text.next(int(r.entries))
	k.Allow = policy.AddrSetOf(entries, string(text))
	return k
}

// IDs are the public ID of the key, and its account's; empty where there is no record.
func (r *Record) IDs() (key, account string) {
	ids := r.ids()
	return ids.next(int(r.id)), ids.next(int(r.account))
}

// ids are the text from the key's ID on.
func (r *Record) ids() parts {
	return parts(r.text[bits.OnesCount8(uint8(r.flags&timeFlags))*timeLen:])
}

func (r *Record) issuerID() string {
	ids := r.ids()
	ids.next(int(r.id) + int(r.account))
	return ids.next(int(r.issuer))
}

// Found reports whether there is a record.
func (r *Record) Found() bool { return r.text != "" }
