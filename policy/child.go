package policy

import (
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
)

// End returns the earliest known end of the key: its expiry, its revocation (also a
// scheduled revocation), or its deletion. It does not include the closing of the
// account.
func (k *Key) End() Expiry {
	end := k.Expires
	for _, at := range [...]Time{k.RevokeFrom, k.RevokedAt, k.DeletedAt} {
		if other := ExpiresAt(at); !at.IsZero() && end.After(other) {
			end = other
		}
	}
	return end
}

// CheckChild checks whether the issuer may issue a child key with this expiry and
// these addresses. The child key must not end later than its issuer, see [Key.End],
// and must not be usable from an address that the issuer is not usable from. The
// error names the value that exceeds the issuer's.
func CheckChild(issuer *Key, expires Expiry, allow AddrSet) error {
	if first := issuer.End(); expires.After(first) {
		if first == issuer.Expires {
			return phrase.Errorf("it would outlive the key that issues it, which expires at %s", first)
		}
		return phrase.Errorf("it would outlive the key that issues it, which ends at %s", first)
	}
	if allow.Any() && !issuer.Allow.Any() {
		return phrase.Errorf("it would be good from any address, and the key that issues it is good from %s only", issuer.Allow)
	}
	if entry, outside := allow.outside(issuer.Allow); outside {
		return phrase.Errorf("it would be good from %s, and the key that issues it is good from %s only", entry, issuer.Allow)
	}
	return nil
}

// outside returns the first entry of s that is not inside other. The set s has entries.
func (s AddrSet) outside(other AddrSet) (entry string, ok bool) {
	if other.Any() {
		return "", false
	}
	for entry := range strings.SplitSeq(s.entries, ",") {
		r, _, err := parseEntry(entry)
		if err != nil || !other.holds(r) {
			return entry, true
		}
	}
	return "", false
}
