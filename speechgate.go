// Package speechgate is a Caddy plugin that stands in front of
// speech-recognition APIs and decides, for every request, whether the API key
// in it may be used.
//
// Importing it registers everything: the gate, the keystore app, the sandbox
// backend, the log filter and the speechgate command.
package speechgate

import _ "github.com/speechgate/speechgate/caddymodule" // registers the modules
