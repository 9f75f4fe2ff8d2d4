package policy

import (
	"fmt"
	"strings"
)

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
	for entry := range strings.SplitSeq(s.entries, ",") {
		r, _, err := parseEntry(entry)
		if err != nil || !other.holds(r) {
			return entry, true
		}
	}
	return "", false
}
