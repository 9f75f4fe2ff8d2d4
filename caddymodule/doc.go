// Package caddymodule registers what Caddy sees of the gateway: the modules, the
// directives with their order, and the command line. Importing the package is enough.
//
// Each module has a package below this one: the app that owns the keystore (app), the
// gate and the verify endpoint (gate), the issuance API (issue), the admin API (admin),
// the log filter (logfilter) and the sandbox backend (sandboxbackend). The packages
// options, handler and livestream hold what several modules share. They wire other
// packages together: they decide, parse and store nothing themselves.
package caddymodule
