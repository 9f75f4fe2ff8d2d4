package dialect

// Kept is how many bytes m holds on to, beside the members themselves.
func (m *Members) Kept() int { return cap(m.capture) }
