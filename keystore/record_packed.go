package keystore

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Record is a key as a lookup finds it. The zero value is none.
type Record struct {
	noted policy.Time // the last use that was noted when the record was found
	// The digest, the lengths and times of which the offsets are below, those of the
	// times of timeFlags that are set, IDs of key, account and issuer, allowed entries,
	// their ranges.
	text string
}

// Where things are in a record's text.
const (
	recordFlagsAt   = digestLen
	recordIDAt      = recordFlagsAt + 1 // the length of the key's ID, as what follows
	recordAccountAt = recordIDAt + 1
	recordIssuerAt  = recordAccountAt + 1
	recordEntriesAt = recordIssuerAt + 1
	recordCreatedAt = recordEntriesAt + 4
	recordExpiresAt = recordCreatedAt + timeLen
	recordRestAt    = recordExpiresAt + timeLen
)

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
	flags := recordFlags(k.Origin)&originBits | flagIf(k.AccountOpen, flagOpen) | flagIf(k.Issuable, flagIssuable) | flagIf(!ends, flagNever) |
		flagIf(!k.DeletedAt.IsZero(), flagDeleted) | flagIf(!k.RevokedAt.IsZero(), flagRevoked) | flagIf(!k.RevokeFrom.IsZero(), flagScheduled)
	b := append(d[:], byte(flags), byte(len(k.ID)), byte(len(k.AccountID)), byte(len(k.IssuerID)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(entries)))
	b = appendTime(appendTime(b, k.CreatedAt), expires)
	for _, t := range [...]policy.Time{k.DeletedAt, k.RevokedAt, k.RevokeFrom} {
		if !t.IsZero() {
			b = appendTime(b, t)
		}
	}
	return Record{k.LastUsedAt, string(b) + k.ID + k.AccountID + k.IssuerID + entries + ranges}, nil
}

// digest is what the record is filed under.
func (r *Record) digest() (d digest) {
	copy(d[:], r.text)
	return d
}

func (r *Record) flags() recordFlags { return recordFlags(r.text[recordFlagsAt]) }

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
	if !r.Found() {
		return policy.Key{}
	}
	head, text := r.text[:recordRestAt], parts(r.text[recordRestAt:])
	flags := recordFlags(head[recordFlagsAt])
	k := policy.Key{
		AccountOpen: flags&flagOpen != 0,
		Origin:      policy.Origin(flags & originBits),
		Issuable:    flags&flagIssuable != 0,
		CreatedAt:   timeAt(head, recordCreatedAt),
		Expires:     policy.ExpiresAt(timeAt(head, recordExpiresAt)),
		DeletedAt:   text.nextTime(flags&flagDeleted != 0),
		RevokedAt:   text.nextTime(flags&flagRevoked != 0),
		RevokeFrom:  text.nextTime(flags&flagScheduled != 0),
		LastUsedAt:  r.noted,
	}
	if flags&flagNever != 0 {
		k.Expires = policy.Never()
	}
	k.ID = text.next(int(head[recordIDAt]))
	k.AccountID = text.next(int(head[recordAccountAt]))
	k.IssuerID = text.next(int(head[recordIssuerAt]))
	entries := text.next(int(uint32At(head, recordEntriesAt)))
	k.Allow = policy.AddrSetOf(entries, string(text))
	return k
}

// IDs are the public ID of the key, and its account's; empty where there is no record.
func (r *Record) IDs() (key, account string) {
	if !r.Found() {
		return "", ""
	}
	ids := r.ids()
	return ids.next(int(r.text[recordIDAt])), ids.next(int(r.text[recordAccountAt]))
}

// ids are the text from the key's ID on.
func (r *Record) ids() parts {
	return parts(r.text[recordRestAt+bits.OnesCount8(uint8(r.flags()&timeFlags))*timeLen:])
}

func (r *Record) issuerID() string {
	ids := r.ids()
	ids.next(int(r.text[recordIDAt]) + int(r.text[recordAccountAt]))
	return ids.next(int(r.text[recordIssuerAt]))
}

// Found reports whether there is a record.
func (r *Record) Found() bool { return r.text != "" }
