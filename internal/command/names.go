package command

import (
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
)

// cliNames says how error messages of package manage are worded on the command line: a
// field has the name of its flag, and a list is the command that prints it.
type cliNames struct{}

// Field implements manage.Names.
func (cliNames) Field(name string) string {
	switch name {
	case "", "job_id": // the field is an argument, which has no name
		return ""
	case "account_id":
		return "--account"
	case "client_ip":
		return "--ip"
	case "confirm":
		return "--yes"
	case "limits":
		return "--limit"
	case "keys":
		return "standard input"
	}
	return "--" + strings.ReplaceAll(name, "_", "-")
}

// List implements manage.Names.
func (cliNames) List(of manage.Kind) string {
	return strconv.Quote(app.Program + " " + string(of) + " list")
}
