package manage

import (
	"net/url"
	"testing"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// gateWith returns a gate of the AmiVoice API.
func gateWith(backend string, grace policy.Grace) GateConfig {
	return GateConfig{
		Dialect: dialect.AmiVoice.Name, Backend: backend, Rules: policy.Rules{Grace: grace},
		Classify: func(method string, path *url.URL) (dialect.Call, string) {
			return dialect.AmiVoice.Classify(method, path.EscapedPath()), ""
		},
	}
}

// someGates have two gates of one backend, a gate without grace, and a fallback with a
// day of grace.
func someGates() GateConfigs {
	return GateConfigs{
		Gates: []GateConfig{
			gateWith("amivoice", policy.Grace{Window: time.Hour}),
			gateWith("amivoice", policy.Grace{Window: 2 * time.Hour, AfterEnd: 10 * time.Minute}),
			gateWith("none", policy.Grace{}),
		},
		Fallback: func(_, backend string) GateConfig {
			return gateWith(backend, policy.Grace{Window: 24 * time.Hour})
		},
		IssuePaths: []string{"/issue"},
	}
}

func TestGateConfigs_GraceOfAJobIsTheLongestOfItsBackend(t *testing.T) {
	t.Parallel()
	gates := someGates()
	created := policy.At(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
	tests := []struct {
		name, backend string
		ended         time.Duration // 0 for not ended
		want          time.Duration // 0 for no grace
	}{
		{"the longest of two gates", "amivoice", 0, 2 * time.Hour},
		{"an end that cuts one of them", "amivoice", 5 * time.Minute, time.Hour},
		{"an end that leaves it the longest", "amivoice", 55 * time.Minute, 65 * time.Minute},
		{"none", "none", 0, 0},
		{"not known for a backend without a gate", "elsewhere", time.Minute, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			job := policy.Job{Backend: test.backend, CreatedAt: created}
			if test.ended > 0 {
				job.EndedAt = created.Add(test.ended)
			}
			var want policy.Time
			if test.want > 0 {
				want = created.Add(test.want)
			}
			if got, known := gates.graceUntil(&job); got != want || known != (test.backend != "elsewhere") {
				t.Errorf("got %s, known: %t; want %s", got, known, want)
			}
			if got, known := new(GateConfigs).graceUntil(&job); got != 0 || known {
				t.Errorf("without gates, the grace ends at %s, known: %t", got, known)
			}
		})
	}
}

func TestGateConfigs_CandidatesAreOfOneBackend(t *testing.T) {
	t.Parallel()
	several := someGates()
	one := GateConfigs{Gates: several.Gates[:2], Fallback: several.Fallback}
	none := GateConfigs{Fallback: several.Fallback}
	bare := GateConfigs{}
	turned := GateConfigs{Gates: []GateConfig{several.Gates[2], several.Gates[0]}}
	foreign := GateConfigs{Gates: []GateConfig{{Dialect: "another", Backend: "elsewhere"}}, Fallback: several.Fallback}
	for _, test := range []struct {
		name    string
		gates   GateConfigs
		backend string
		want    string // the backend of the candidates; empty for an error
		count   int
		err     string
	}{
		{"the only backend", one, "", "amivoice", 2, ""},
		{"a chosen one", several, "none", "none", 1, ""},
		{"none is configured", none, "", "amivoice", 1, ""},
		{"none is configured, and one is chosen", none, "mine", "mine", 1, ""},
		{"only gates of another API", foreign, "", "amivoice", 1, ""},
		{"several", several, "", "", 0, "the configuration has several backends: choose one with backend, of amivoice, none"},
		{"several in another order", turned, "", "", 0, "the configuration has several backends: choose one with backend, of amivoice, none"},
		{"one that is not configured, beside the only backend", one, "third", "", 0, `backend "third": the configuration has no such backend: want amivoice`},
		{"without a fallback", bare, "", "", 0, `backend "amivoice": no gate of this backend is configured`},
		{"one that is not configured", several, "third", "", 0, `backend "third": the configuration has no such backend: want amivoice or none`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.gates.candidates(dialect.AmiVoice, test.backend)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got the error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || len(got) != test.count {
				t.Fatalf("got %d candidates, %v; want %d", len(got), err, test.count)
			}
			for _, gate := range got {
				if gate.Backend != test.want {
					t.Errorf("a candidate is of the backend %q, want %q", gate.Backend, test.want)
				}
			}
		})
	}
}

// A job has the longest grace of the gates in any order; without a job, the first gate decides.
func TestLongestGrace_IsThatOfAnyGate(t *testing.T) {
	t.Parallel()
	short, long := gateWith("amivoice", policy.Grace{Window: time.Hour}), gateWith("amivoice", policy.Grace{Window: 2 * time.Hour})
	job := &policy.Job{Backend: "amivoice", CreatedAt: policy.At(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))}
	for _, gates := range [][]GateConfig{{short, long}, {long, short}, {short, long, short}} {
		if got := longestGrace(gates, job).Rules.Grace; got != long.Rules.Grace {
			t.Errorf("the grace of the job is %+v, want %+v", got, long.Rules.Grace)
		}
		if got := longestGrace(gates, nil).Rules.Grace; got != gates[0].Rules.Grace {
			t.Errorf("without a job, the grace is %+v, want %+v", got, gates[0].Rules.Grace)
		}
	}
}
