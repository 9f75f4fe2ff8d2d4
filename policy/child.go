package policy

import (
	"fmt"
	"strings"
)

// End is the first of the key's ends that are known: its expiry, its revocation
// (also one that is scheduled), or its deletion. The account's closing is not
// among them.
func (k *Key) End() Expiry {
	end := k.Expires
	for _, at := range [...]Time{k.RevokeFrom, k.RevokedAt, k.DeletedAt} {
		if other := ExpiresAt(at); !at.IsZero() && end.After(other) {
			end = other
		}
	}
	return end
}

// CheckChild says whether the issuer may issue a child with this expiry and these
// addresses. A bound child ends no later than the first of its issuer's ends, see
// [Key.End], and is good only from addresses that its issuer is good from. The
// error names the value that goes beyond the issuer.
func CheckChild(issuer *Key, expires Expiry, allow AddrSet) error {
	if first := issuer.End(); expires.After(first) {
		how := "ends"
		if first == issuer.Expires {
			how = "expires"
		}
		return fmt.Errorf("it would outlive the key that issues it, which %s at %s", how, first)
	}
	if entry, outside := allow.outside(issuer.Allow); outside {
		return fmt.Errorf("it would be good from %s, and the key that issues it is good from %s only", entry, issuer.Allow)
	}
	return nil
}

// outside names what of s is not in other.
func (s AddrSet) outside(other AddrSet) (entry string, ok bool) {
	if other.Any() {
		return "", false
	}
	if s.Any() {
		return "any address", true
	}
	for entry := range strings.SplitSeq(s.entries, ",") {
		r, _, err := parseEntry(entry)
		if err != nil || !other.holds(r) {
			return entry, true
		}
	}
	return "", false
}
