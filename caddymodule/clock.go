package caddymodule

import "github.com/speechgate/speechgate/keystore"

// clock is the one clock of this process, across reloads: everything that asks
// whether an instant has passed goes by it.
var clock = keystore.SystemClock()

// now is the current instant.
var now = clock.Now
