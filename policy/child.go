package policy

import "fmt"

// CheckChild says whether a key that issues another may give it this expiry and
// these addresses. A child that is bound to its issuer ends no later than that,
// and is good from no address that its issuer is not good from. The error names
// what goes beyond.
func CheckChild(issuer *Key, expires Expiry, allow AddrSet) error {
	if end, ok := issuer.Expires.Time(); ok && expires.After(issuer.Expires) {
		return fmt.Errorf("it would outlive the key that issues it, which expires at %s", end)
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
	for _, entry := range s.entries {
		r, _, err := parseEntry(entry)
		if err != nil || !other.holds(r) {
			return entry, true
		}
	}
	return "", false
}

// holds reports whether the whole of r is in s. What touches has been joined, so
// that it would be in one range.
func (s AddrSet) holds(r addrRange) bool {
	for _, has := range s.ranges {
		if has.from.BitLen() == r.from.BitLen() && has.from.Compare(r.from) <= 0 && r.to.Compare(has.to) <= 0 {
			return true
		}
	}
	return false
}
