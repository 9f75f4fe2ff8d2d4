package credential

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

func TestR19_PairsAreReadAsTheVendorWritesThem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		keys       []string
	}{
		{"nothing", "", nil},
		{"a bare engine", "-a-general", nil},
		{"pairs without a key", "grammarFileNames=-a-general profileId=x", nil},
		{"a word with quotes and no key", `profileWords="x"`, nil},
		{"a value that names the pair", "profileWords=authorization%20x", nil},
		{"a key in the end", "grammarFileNames=-a-general authorization=K", []string{"K"}},
		{"a key in front", "authorization=K grammarFileNames=-a-general", []string{"K"}},
		{"with spaces around", " authorization=K ", []string{"K"}},
		{"with escapes", "authorization=K%2B%2f%3D", []string{"K+/="}},
		{"with none", "authorization=K+/=", []string{"K+/="}},
		{"twice", "authorization=K x authorization=L", []string{"K", "L"}},
		{"empty", "authorization=", []string{""}},
		{"a run of spaces, no key", "x  y", nil},
		{"a line feed behind an engine, as of a file", "-a-general\n", nil},
		{"two lines of a text area", "grammarFileNames=-a-general\r\nprofileWords=x", nil},
		{"a tab and no key", "grammarFileNames=-a-general\tprofileWords=x", nil},
		{"a NUL and no key", "x\x00y", nil},
		{"quotes, spaces and the word, but no pair of it", `profileWords="authorization  x"`, nil},
		{"a value that is the name, beside a long engine", "-a-general-of-great-length x=authorization", nil},
		{"a longer name", "authorizations=x  y", nil},
		{"beside Japanese", "profileWords=音声 authorization=K", []string{"K"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found, fault := findPairs(test.text, "authorization")
			if fault != nil || len(found) != len(test.keys) {
				t.Fatalf("found %v, %v", found, fault)
			}
			for i, p := range found {
				if p.key != test.keys[i] || p.token.of(test.text) != "authorization="+p.value.of(test.text) {
					t.Errorf("pair %d is %+v", i, p)
				}
			}
		})
	}
}

func TestR19_PairsThatParsersReadDifferentlyAreRefused(t *testing.T) {
	t.Parallel()
	for detail, cases := range map[string]map[string]string{
		"a run of spaces among name=value pairs that hold a key: single spaces separate them": {
			"a run of spaces": "x  authorization=K",
		},
		"a control character among name=value pairs that hold a key: single spaces separate them": {
			"a line feed behind a key": "x authorization=K\n",
			"a dotless i behind a tab": "x\tauthor\u0131zation=K",
			"a tab":                    "x\tauthorization=K",
			"a line break":             "x\nauthorization=K",
			"a NUL":                    "x\x00authorization=K",
			"a DEL":                    "x\x7fauthorization=K",
		},
		"the pair authorization has no value": {
			"a line feed and a bare name": "x\nauthorization K",
			"the bare name":               "x authorization",
		},
		"the pair authorization is spelled in another way, or hidden": {
			"a dotless i":                   "author\u0131zation=K",
			"an escaped dotless i":          "author%C4%B1zation=K",
			"full-width letters":            "\uff41uthorization=K",
			"a zero-width space within":     "author\u200bization=K",
			"brackets":                      "[authorization]=K",
			"a quoted name":                 `'authorization'=K`,
			"a doubly escaped letter":       "%2561uthorization=K",
			"a plus before the equals sign": "authorization+=K",
			"a quoted pair":                 `"authorization=K"`,
			"a capital letter":              "Authorization=K",
			"capitals beside a key":         "authorization=K AUTHORIZATION=L",
			"an escaped letter":             "%61uthorization=K",
			"an escaped equals sign":        "x authorization%3DK",
			"an escaped space":              "x%20authorization=K",
			"all of it escaped":             "x%20authorization%3DK",
			"no-break space":                "x\u00a0authorization=K",
			"ideographic space":             "x\u3000authorization=K",
			"a comma":                       "x,authorization=K",
			"a semicolon":                   "x;authorization=K",
			"an ampersand":                  "x&authorization=K authorization=K",
			"a space before the equals":     "authorization =K",
			"an escape of a letter by IIS":  "%u0061uthorization=K",
			"a pair within another's value": "x=authorization=K",
		},
		"a quotation mark among name=value pairs that hold a key: their values are percent-encoded": {
			"quotes":               `profileWords="x" authorization=K`,
			"quotes around a pair": `profileWords="x authorization=K"`,
		},
		"the value of the pair authorization has a broken percent-escape": {
			"a broken escape in the value": "authorization=%zz",
			"a cut escape in the value":    "authorization=%4",
		},
	} {
		for name, text := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				_, fault := findPairs(text, "authorization")
				if fault == nil || fault.Reason != policy.RequestMalformed || fault.Detail != detail {
					t.Errorf("findPairs(%q): %v, want %s", text, fault, detail)
				}
			})
		}
	}
}

func FuzzPairs(f *testing.F) {
	for _, seed := range []string{"-a-general", "x authorization=K", "authorization=K authorization=K y", "%61uthorization=K", `a="b authorization=c"`, "authorization=%2B+", "authorization= authorization=K", " authorization=K "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found, fault := findPairs(text, "authorization")
		if fault != nil {
			return
		}
		swapped := editPairs(text, decodedWithOffsets{text: text}, "authorization", true, "NEW")
		again, fault := findPairs(swapped, "authorization")
		if fault != nil || len(again) != len(found) {
			t.Fatalf("%q became %q: %v", text, swapped, fault)
		}
		for i, p := range again {
			if (p.key == "") != (found[i].key == "") || p.key != "" && p.key != "NEW" {
				t.Fatalf("%q became %q", text, swapped)
			}
		}
		dropped := editPairs(text, decodedWithOffsets{text: text}, "authorization", false, "")
		again, fault = findPairs(dropped, "authorization")
		if fault != nil {
			t.Fatalf("%q was left as %q: %v", text, dropped, fault)
		}
		for _, p := range again {
			if p.key != "" {
				t.Fatalf("%q was left as %q", text, dropped)
			}
		}
		if strings.Trim(text, " ") == text && strings.Trim(dropped, " ") != dropped {
			t.Fatalf("%q was left as %q, with a space around it", text, dropped)
		}
	})
}
