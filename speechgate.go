// Package speechgate is a Caddy plugin: a gateway in front of speech-recognition
// APIs. For every request it decides whether the API key in the request may be used.
//
// Importing the package registers all Caddy modules: the keystore app, the gate
// (speechgate), the issuance API (speechgate_issue), the verify endpoint
// (speechgate_verify), the sandbox backend (speechgate_sandbox), the log filter, the
// admin API, and the speechgate command.
package speechgate

import _ "github.com/speechgate/speechgate/caddymodule" // registers the modules
