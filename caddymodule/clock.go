package caddymodule

import (
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// now is the current instant, by the one clock of this process.
var now = keystore.NewClock(time.Now)
