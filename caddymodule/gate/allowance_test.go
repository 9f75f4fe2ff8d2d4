package gate

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
)

// For any pattern that a configuration can have, "*" opens only paths that the dialect does
// not know.
func TestR15_AnySegmentOpensNothingThatTheDialectKnows(t *testing.T) {
	api := dialect.AmiVoice
	words := []string{"v1", "V2", "nolog", "recognize", "recognitions", "job", "x", anySegment, accountSegment, ""}
	segments := rapid.SampledFrom(words)
	opened := 0
	rapid.Check(t, func(t *rapid.T) {
		pattern := append(rapid.SliceOfN(segments, 0, 3).Draw(t, "pattern"), anySegment)
		a := Allowance{"GET", "/" + strings.Join(pattern, "/")}
		if a.validate(api) != nil {
			return
		}
		g := &Gate{api: api, AlsoAllow: []Allowance{a}}
		for range 20 {
			filled := slices.Clone(pattern)
			for i, segment := range filled {
				if segment == anySegment || segment == accountSegment {
					filled[i] = segments.Draw(t, "segment")
				}
			}
			path := "/" + strings.Join(filled, "/")
			if _, ok := g.allowance(dialect.AmiVoice, "GET", path); !ok {
				continue
			}
			opened++
			if api.Knows(path) || !dialect.CleanPath(path) {
				t.Fatalf("%s opens %s", a.Path, path)
			}
		}
	})
	if opened == 0 {
		t.Error("no pattern opened a path: the test tests nothing")
	}
}

func TestR15_AnAllowanceFitsItsMethodAndItsPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		allowed, asked string // method and path
		account        string
		fits           bool
	}{
		{"GET /v1/engines", "GET /v1/engines", "", true},
		{"GET /v1/engines", "POST /v1/engines", "", false},
		{"GET /v1/engines", "GET /v1/engine", "", false},
		{"GET /v1/engines", "GET /v1", "", false},
		{"GET /v1/engines", "GET /v1/engines/", "", false},
		{"GET /v1/engines", "GET /v1/engines/x", "", false},
		{"GET /v1/engines", "GET /v2/engines", "", false},
		{"GET /words/*", "GET /words/a", "", true},
		{"GET /words/*", "GET /words/", "", false},
		{"GET /words/*", "GET /words/..", "", false},
		{"GET /words/*", "GET /words/a%2fb", "", false},
		{"GET /words/*", "GET /words/a/b", "", false},
		{"GET /words/{speechgate.account_id}/x", "GET /words/acc_1/x", "acc_1", true},
		{"GET /words/{speechgate.account_id}/x", "GET /words/acc_1/y", "", false},
		{"GET /words/{speechgate.account_id}/x", "GET /words//x", "", false},
		{"GET /{speechgate.account_id}/*", "GET /acc_1/any", "acc_1", true},
	} {
		method, path, _ := strings.Cut(test.allowed, " ")
		g := &Gate{AlsoAllow: []Allowance{{method, path}}}
		method, path, _ = strings.Cut(test.asked, " ")
		account, ok := g.allowance(dialect.AmiVoice, method, path)
		if account != test.account || ok != test.fits {
			t.Errorf("%s allows %s: %v, and the account is %q", test.allowed, test.asked, ok, account)
		}
	}
}

// The first entry that fits counts, so that an entry for accounts is not opened by a later one.
func TestR15_TheFirstAllowanceThatFitsCounts(t *testing.T) {
	t.Parallel()
	g := &Gate{AlsoAllow: []Allowance{{"POST", "/words/*"}, {"GET", "/words/{speechgate.account_id}"}, {"GET", "/words/all"}, {"GET", "/words/*"}, {"GET", "/words/x/y"}}}
	if account, ok := g.allowance(dialect.AmiVoice, "GET", "/words/all"); account != "all" || !ok {
		t.Errorf("%q, %v", account, ok)
	}
	g.api = dialect.AmiVoice
	for path, want := range map[string]string{"/words/a": "POST GET", "/words/x/y": "GET", "/words": "", "/v1/recognize": ""} {
		if got := strings.Join(g.allowedMethods(path), " "); got != want {
			t.Errorf("%s: the methods are %q, want %q", path, got, want)
		}
	}
	g.AlsoAllow = append(g.AlsoAllow, Allowance{"GET", "/v1/*"})
	if methods := g.allowedMethods("/v1/recognize"); methods != nil {
		t.Errorf("the path of the dialect is opened for %q", methods)
	}
}

func TestR15_AnAllowanceThatAnEarlierOneCoversIsAnError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		earlier, later string
		covers         bool
	}{
		{"GET /a/*", "GET /a/b", true},
		{"GET /a/{speechgate.account_id}", "GET /a/b", true},
		{"GET /a/*", "GET /a/{speechgate.account_id}", true},
		{"GET /a/{speechgate.account_id}", "GET /a/*", true},
		{"GET /a/b", "GET /a/b", true},
		{"GET /a/b", "POST /a/b", false},
		{"GET /a/b", "GET /a/*", false},
		{"GET /a/b", "GET /a/c", false},
		{"GET /a/*", "GET /b/c", false},
		{"GET /a/*", "GET /a/b/c", false},
		{"GET /a/b/*", "GET /a/b", false},
	} {
		g := &Gate{}
		g.api = dialect.AmiVoice
		for _, line := range []string{"GET /other", test.earlier, test.later} {
			method, path, _ := strings.Cut(line, " ")
			g.AlsoAllow = append(g.AlsoAllow, Allowance{method, path})
		}
		err := g.validateAllowances()
		if (err != nil) != test.covers || err != nil && !strings.Contains(err.Error(), "also_allow "+test.later+": it has no effect") {
			t.Errorf("%s before %s: %v", test.earlier, test.later, err)
		}
	}
}

func TestR15_AnAllowanceIsChecked(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"GET /engines":                     "",
		"OPTIONS /ab/*":                    "",
		"GET /a/{speechgate.account_id}/b": "",
		"GET /x/{speechgate.account_id}/*": "",
		" /engines":                        "want one method in capitals",
		"get /engines":                     "want one method in capitals",
		"GET|POST /engines":                "want one method in capitals",
		"G[T /engines":                     "want one method in capitals",
		"G@T /engines":                     "want one method in capitals",
		"CONNECT /engines":                 "want one method in capitals",
		"TRACE /engines":                   "want one of the methods GET",
		"A-Z /engines":                     "want one of the methods GET",
		"GET engines":                      "want a path that begins with a slash",
		"GET /a/*/b":                       "want a path that begins with a slash",
		"GET /a/:b":                        "a segment that begins with a colon",
		"GET /{speechgate.account_id}/a/{speechgate.account_id}": "comes twice",
		"GET /v1/recognitions/*":                                 "dialect knows this path",
		"GET /v1/recognize":                                      "dialect knows this path",
		"POST /V1/Recognize":                                     "dialect knows this path",
		"POST /v1/{speechgate.account_id}":                       "dialect knows this path",
		"POST /{speechgate.account_id}/recognize":                "dialect knows this path",
		"POST /v1/nolog/{speechgate.account_id}":                 "dialect knows this path",
		"POST /{speechgate.account_id}/nolog/*":                  "dialect knows this path",
		"GET /v1":                                                "dialect knows this path",
	} {
		method, path, _ := strings.Cut(line, " ")
		a := Allowance{method, path}
		if err := a.validate(dialect.AmiVoice); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}
