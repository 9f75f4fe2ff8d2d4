package credential

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func TestR18_WholeWordsLeavesLongerWordsAlone(t *testing.T) {
	t.Parallel()
	r := NewRedactor(policy.NewSecret("proxy.v2"), 0).WholeWords()
	for text, masked := range map[string]bool{
		"proxy.v2": true, "u=proxy.v2&": true, "%3dproxy.v2": true, "%20proxy%2ev2%20": true, `\u003dproxy.v2`: true, `\tproxy.v2`: true, "あproxy.v2あ": true,
		"reverseproxy.v2": false, "proxy.v21": false, "3dproxy.v2": false, "%3proxy.v2": false, `\xproxy.v2`: false, "proxy.v2b proxy.v2c": false,
	} {
		if got := r.Text(text); strings.Contains(got, "**") != masked || len(got) != len(text) {
			t.Errorf("%q becomes %q, masked: want %t", text, got, masked)
		}
	}
}
