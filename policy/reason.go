package policy

// Reason says why a decision came out as it did. The same word stands in logs,
// metrics and the audit trail; clients are never told more of it than the
// backend's own refusals tell.
type Reason uint8

// The reasons, a closed set. The zero value is not among them and prints as
// "undecided".
const (
	Undecided           Reason = iota
	Allowed                    // the key is valid for the operation
	AllowedByGrace             // the key expired, and reads a job that it created
	CredentialMissing          // no key where the operation reads one
	CredentialAmbiguous        // two keys that differ
	CredentialMalformed        // a key, or what surrounds it, breaks the grammar
	KeyUnknown                 // no such key
	KeyExpired                 // the key's time is over
	KeyDeleted                 // the account's holder deleted the key
	KeyRevoked                 // the operator revoked the key
	AccountClosed              // the key's account is closed
	AddressRefused             // the key may not be used from this address
	AddressUnknown             // the key is bound to addresses, the client's is not known
	EarlyData                  // TLS early data, whose sender's address is not proved
	OperationUnlisted          // the API has no such operation
	JobUnknown                 // no such job
	JobForeign                 // the job of another account
	NoIssuanceRight            // the key may not issue keys
	Throttled                  // too many failing calls
	StoreUnavailable           // the keystore cannot be read
	RequestMalformed           // the request cannot be read, whatever its key
	UpstreamRefused            // the backend refuses the gate's own key
	LimitReached               // a limit is reached: of the key, the account or the gateway

	reasons // how many there are
)

var reasonWords = [reasons]string{
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
}

// String returns the reason's word.
func (r Reason) String() string {
	if r >= reasons {
		r = Undecided
	}
	return reasonWords[r]
}

// OK reports whether a decision with this reason lets the request through.
func (r Reason) OK() bool { return r == Allowed || r == AllowedByGrace }

// Reasons lists every reason, in order.
func Reasons() []Reason {
	all := make([]Reason, 0, reasons-1)
	for r := Allowed; r < reasons; r++ {
		all = append(all, r)
	}
	return all
}

// Operation is what a request asks for, as the dialect of its API reads it.
type Operation uint8

// The operations. The zero value is Unlisted, which is always refused.
const (
	Unlisted  Operation = iota // nothing that the dialect lists
	Recognize                  // synchronous recognition
	CreateJob                  // start an asynchronous recognition
	ReadJob                    // poll a job or fetch its result
	DeleteJob                  // delete a job
	Stream                     // recognition over a WebSocket
	ListJobs                   // list jobs
	Info                       // read what is no account's own, such as the list of models
	Mint                       // have the backend issue a short-lived token
	IssueKey                   // issue a key of this gateway
	operations
)

var operationWords = [operations]string{
	Unlisted:  "unlisted",
	Recognize: "recognize",
	CreateJob: "create_job",
	ReadJob:   "read_job",
	DeleteJob: "delete_job",
	Stream:    "stream",
	ListJobs:  "list_jobs",
	Info:      "info",
	Mint:      "mint",
	IssueKey:  "issue_key",
}

// String returns the operation's word.
func (o Operation) String() string {
	if o >= operations {
		o = Unlisted
	}
	return operationWords[o]
}
