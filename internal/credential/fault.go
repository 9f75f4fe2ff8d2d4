package credential

import "github.com/speechgate/speechgate/policy"

// Fault says why a request has no key that can be looked up. The reasons are:
//   - RequestMalformed: the request cannot be read, or two parsers could read it
//     differently
//   - CredentialMissing: there is no key in a place that the operation reads
//   - CredentialAmbiguous: there are two keys that differ
//   - CredentialMalformed: the text of the key is wrong, or its scheme
//   - LimitReached: the budget has no memory for the form
type Fault struct { //nolint:errname // a Fault is a result of the check, not a failure
	Reason policy.Reason
	Detail string // for the operator's log; quotes nothing of the request
}

// Error implements error.
func (f *Fault) Error() string { return f.Reason.String() + ": " + f.Detail }

// MalformedKey returns the fault of a key for which [policy.CheckSecret] returned err.
func MalformedKey(err error) *Fault {
	return &Fault{Reason: policy.CredentialMalformed, Detail: "the key " + err.Error()}
}

// malformed returns the fault of a request that cannot be read.
func malformed(detail string) *Fault {
	return &Fault{Reason: policy.RequestMalformed, Detail: detail}
}

// limited returns the fault of a form for which there is no memory.
func limited(detail string) *Fault {
	return &Fault{Reason: policy.LimitReached, Detail: detail}
}

// fail keeps the first fault of a request.
func (f *Found) fail(fault *Fault) {
	if f.fault == nil {
		f.fault = fault
	}
}
