package dialect

// Location says which part of a request a key is in.
type Location uint8

// The parts of a request that can hold a key.
const (
	Header      Location = iota + 1 // a header field
	Query                           // a parameter of the query
	Part                            // a part of a multipart/form-data body
	Subprotocol                     // an item of Sec-WebSocket-Protocol (RFC 6455, section 4.1)
)

// Place is a place in a request where a client may put its key.
type Place struct {
	Location Location
	// Name is the name of the header field in net/http's canonical form, or the name of the
	// parameter or part. For a Subprotocol it is the item before the key; it is empty if the
	// item with the key begins with Prefix.
	Name string
	// Scheme is the authentication scheme before the key in a header field, such as
	// Bearer. A space separates them. Upper and lower case are the same. Scheme is
	// empty if the value is the key itself.
	Scheme string
	// Prefix comes before the key in an item of a Subprotocol, without a separator.
	Prefix string
	// User is the name of the user if the scheme is Basic (RFC 7617): the key is the
	// password of this user. It is empty if the key itself follows the scheme.
	User string
	// SubKey is the name of the name=value pair that holds the key, if the value
	// consists of such pairs. Single spaces separate the pairs, and their values are
	// percent-encoded. SubKey is empty if the whole value is the key.
	SubKey string
	// Takes says what the backend takes in this place.
	Takes Takes
}

// Takes says what a client can show in a place.
type Takes uint8

// The values of Takes.
const (
	Keys          Takes = iota // keys
	KeysAndTokens              // keys, and tokens that the backend has minted for a key
	TokensOnly                 // such tokens
)

// HeaderName returns the name of the header field that the place is in, in net/http's canonical
// form; "" if the place is in no header field.
func (p *Place) HeaderName() string {
	switch p.Location {
	case Header:
		return p.Name
	case Subprotocol:
		return "Sec-Websocket-Protocol"
	default:
		return ""
	}
}
