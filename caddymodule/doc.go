// Package caddymodule holds the Caddy modules: the app that owns the keystore,
// the gate, the issuance API, the authentication of jobs again, the sandbox
// backend, the log filter and the command line. It wires the other packages
// together; nothing is decided, parsed or stored here.
package caddymodule
