package dialect

// The errors of Members.Get, for the tests.
var (
	ErrMemberTwice = errMemberTwice
	ErrMemberText  = errMemberText
	ErrMemberCase  = errMemberCase
	ErrMemberAsked = errMemberAsked
)

// Kept returns how many bytes m holds, besides the members.
func (m *Members) Kept() int { return cap(m.capture) }
