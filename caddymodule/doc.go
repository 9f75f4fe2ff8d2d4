// Package caddymodule registers the gateway with Caddy: the modules, the directives and their
// order, and the command line. Import the package for this effect.
//
// Each module has a package below this one: the app that owns the keystore (app), the gate
// and the verify endpoint (gate), the issuance API (issue), the admin API (admin), the log
// filter (logfilter) and the sandbox backend (sandboxbackend). The packages options, handler
// and livestream have what several modules share. These packages wire other packages
// together. The rules, the parsers and the storage are in the other packages.
package caddymodule
