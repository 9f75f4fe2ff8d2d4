package gate

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/dialect"
)

// TestR15AFreeSegmentOpensNothingThatTheDialectKnows holds for any pattern that a
// configuration may have.
func TestR15AFreeSegmentOpensNothingThatTheDialectKnows(t *testing.T) {
	api := dialect.AmiVoice
	words := []string{"v1", "V2", "nolog", "recognize", "recognitions", "job", "x", freeSegment, accountSegment, ""}
	segments := rapid.SampledFrom(words)
	opened := 0
	rapid.Check(t, func(t *rapid.T) {
		pattern := append(rapid.SliceOfN(segments, 0, 3).Draw(t, "pattern"), freeSegment)
		a := Allowance{"GET", "/" + strings.Join(pattern, "/")}
		if a.validate(api) != nil {
			return
		}
		g := &Gate{api: api, AlsoAllow: []Allowance{a}}
		for range 20 {
			filled := slices.Clone(pattern)
			for i, segment := range filled {
				if segment == freeSegment || segment == accountSegment {
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
