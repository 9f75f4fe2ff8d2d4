package policy

// Reason says why a decision came out as it did. Logs, metrics and the audit
// trail show the same word. Clients learn no more of the reason than the
// backend's own refusals tell.
type Reason uint8

// The reasons: a closed set. The zero value, Undecided, says that no rule has
// decided yet.
const (
	Undecided           Reason = iota
	Allowed                    // the key is valid for the operation
	AllowedByGrace             // the key has expired, and reads a job that it created within the grace window
	CredentialMissing          // the request has no key where the operation reads one
	CredentialAmbiguous        // the request has two different keys
	CredentialMalformed        // the key, or the text around the key, breaks the grammar
	KeyUnknown                 // the keystore has no such key or token
	KeyExpired                 // the key, or the token in its place, has expired
	KeyDeleted                 // the account's owner has deleted the key
	KeyRevoked                 // the operator has revoked the key
	AccountClosed              // the key's account is closed
	AddressRefused             // the key may not be used from this address
	AddressUnknown             // the key is bound to addresses, and the client's address is not known
	EarlyData                  // the request came as TLS early data, which does not prove the sender's address
	OperationUnlisted          // the API has no such operation
	JobUnknown                 // the job is not recorded
	JobForeign                 // the job belongs to another account
	NoIssuanceRight            // the key may not issue keys, or a token asks for a key or another token
	Throttled                  // too many failing issuance calls from one address
	StoreUnavailable           // the keystore cannot be read
	RequestMalformed           // the request cannot be read, whatever its key
	UpstreamRefused            // the backend refuses the upstream key
	LimitReached               // a limit of the key or its account, an issuance limit, or a memory limit of the gateway, is reached
	StreamLimit                // the key, the account or the address has as many live streams as it may have
	StreamTooLong              // the live stream has lasted as long as it may
	CutByOperator              // the operator has cut the live stream
	KeySuspended               // the operator has suspended the key
	AccountSuspended           // the operator has suspended the key's account
	OperationRefused           // the key, or its account, may not use the operation

	reasonCount
)

var reasonWords = [reasonCount]string{
	Undecided:           "undecided",
	Allowed:             "allowed",
	AllowedByGrace:      "allowed_by_grace",
	CredentialMissing:   "credential_missing",
	CredentialAmbiguous: "credential_ambiguous",
	CredentialMalformed: "credential_malformed",
	KeyUnknown:          "key_unknown",
	KeyExpired:          "key_expired",
	KeyDeleted:          "key_deleted",
	KeyRevoked:          "key_revoked",
	AccountClosed:       "account_closed",
	AddressRefused:      "address_refused",
	AddressUnknown:      "address_unknown",
	EarlyData:           "early_data",
	OperationUnlisted:   "operation_unlisted",
	JobUnknown:          "job_unknown",
	JobForeign:          "job_foreign",
	NoIssuanceRight:     "no_issuance_right",
	Throttled:           "throttled",
	StoreUnavailable:    "store_unavailable",
	RequestMalformed:    "request_malformed",
	UpstreamRefused:     "upstream_refused",
	LimitReached:        "limit_reached",
	StreamLimit:         "stream_limit",
	StreamTooLong:       "stream_too_long",
	CutByOperator:       "cut_by_operator",
	KeySuspended:        "key_suspended",
	AccountSuspended:    "account_suspended",
	OperationRefused:    "operation_refused",
}

// String returns the reason's word.
func (r Reason) String() string {
	if r >= reasonCount {
		r = Undecided
	}
	return reasonWords[r]
}

// OK reports whether a decision with this reason lets the request through.
func (r Reason) OK() bool { return r == Allowed || r == AllowedByGrace }

// Reasons lists every reason except Undecided, in order.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := Allowed; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}
