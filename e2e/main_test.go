// Package e2e_test runs the whole program.
package e2e_test

import (
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what cmd/caddy has
	"github.com/rogpeppe/go-internal/testscript"

	_ "github.com/speechgate/speechgate"
)

// TestMain lets the test binary be the program itself when it is called caddy,
// as scripts do.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"caddy": caddycmd.Main})
}
