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
