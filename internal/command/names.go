package command

import (
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
)

// cliNames are the names that error messages of package manage have on the command
// line: a field is a flag, and a list is a command.
type cliNames struct{}

// Field implements manage.Names.
func (cliNames) Field(name string) string {
	switch name {
	case "", "job_id": // an argument
		return ""
	case "account_id":
		return "--account"
	case "client_ip":
		return "--ip"
	case "confirm":
		return "--yes"
	case "keys":
		return "standard input"
	}
	return "--" + strings.ReplaceAll(name, "_", "-")
}

// List implements manage.Names.
func (cliNames) List(of manage.Kind) string {
	return strconv.Quote(app.Program + " " + string(of) + " list")
}
