// Package speechgate is a Caddy plugin that stands in front of
// speech-recognition APIs and decides, for every request, whether the API key
// in it may be used.
//
// Importing it registers everything: the keystore app, the gate (speechgate), the
// issuance API (speechgate_issue), what backends ask whether a job may go on
// (speechgate_verify), the sandbox backend (speechgate_sandbox), the log filter
// and the speechgate command.
package speechgate

import _ "github.com/speechgate/speechgate/caddymodule" // registers the modules
