package app

import (
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// A key that begins like another one is masked whole, whichever was added first.
func TestUpstreamKeyMask_MasksTheLongerKeyFirst(t *testing.T) {
	t.Parallel()
	const short, long = "a-key-of-the-backend", "a-key-of-the-backend-of-today"
	for _, order := range [][]string{{short, long}, {long, short}} {
		var mask UpstreamKeyMask
		for _, key := range order {
			mask.Add(policy.NewSecret(key))
			mask.Add(policy.NewSecret(key))
		}
		if got := mask.Mask("x " + long + " y " + short); got != "x ***************************** y ********************" {
			t.Errorf("masked as %q", got)
		}
		if n := len(*mask.keys.Load()); n != 2 {
			t.Errorf("the mask has %d keys", n)
		}
	}
}
