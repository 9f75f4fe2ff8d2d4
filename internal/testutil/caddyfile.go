package testutil

import "cmp"

// LogFilter is the format of a log that masks keys, as every example has it. It is a line of a log block
// in a Caddyfile.
const LogFilter = `		format filter {
			request speechgate
			resp_headers speechgate
			headers speechgate
			uri speechgate
			error speechgate
			http speechgate
		}
`

// Caddyfile is the configuration of a gateway in a test. Its default log masks keys, and Caddy does not
// save the configuration.
type Caddyfile struct {
	Admin   string // the address of the admin API; "off" by default
	Options string // more global options, in whole lines
	Log     string // lines of the default log, such as its output; on the standard error by default
	Sites   string
}

// String returns the text of the Caddyfile.
func (c Caddyfile) String() string {
	return "{\n\tadmin " + cmp.Or(c.Admin, "off") + "\n\tpersist_config off\n" + c.Options +
		"\tlog {\n" + c.Log + LogFilter + "\t}\n}\n" + c.Sites
}
