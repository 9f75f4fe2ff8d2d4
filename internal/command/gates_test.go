package command

import (
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/policy"
)

func TestGatesOf_ReadsTheSettingsOfEachGate(t *testing.T) {
	t.Parallel()
	found, err := gatesOf([]byte(`{"servers": {"srv0": {"routes": [
		{"handle": [{"handler": "subroute", "routes": [
			{"handle": [{"handler": "speechgate", "dialect": "amivoice", "grace": 3600000000000}]},
			{"handle": [{"handler": "speechgate", "dialect": "amivoice", "grace": "2h", "grace_after_end": "10m"}]}
		]}]},
		{"handle": [{"handler": "speechgate", "dialect": "amivoice", "backend": "none", "grace": 0}]},
		{"handle": [{"handler": "speechgate", "dialect": "amivoice", "backend": "default", "unrecorded_jobs": "backend"}]}
	]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		backend string
		rules   policy.Rules
	}{
		{"amivoice", policy.Rules{Grace: policy.Grace{Window: time.Hour}}},
		{"amivoice", policy.Rules{Grace: policy.Grace{Window: 2 * time.Hour, AfterEnd: 10 * time.Minute}}},
		{"none", policy.Rules{}},
		{"default", policy.Rules{Grace: policy.Grace{Window: 24 * time.Hour}, UnrecordedJobs: true}},
	}
	if len(found.Gates) != len(want) {
		t.Fatalf("got %d gates, want %d", len(found.Gates), len(want))
	}
	for i, w := range want {
		if got := found.Gates[i]; got.Dialect != "amivoice" || got.Backend != w.backend || got.Rules != w.rules {
			t.Errorf("gate %d is %+v, want %+v", i+1, got, w)
		}
	}
	fallback := policy.Rules{Grace: policy.Grace{Window: 24 * time.Hour}}
	if got := found.Fallback("", "elsewhere"); got.Backend != "elsewhere" || got.Rules != fallback {
		t.Errorf("a backend without a gate has %+v", got)
	}
}

func TestGatesOf_FindsWhereKeysAreIssued(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config string // of the HTTP app; empty if none is named
		paths  []string
	}{
		"no configuration":   {"", []string{issue.DefaultPath}},
		"no HTTP app":        {"null", nil},
		"no issuance API":    {`{"routes": [{"handle": [{"handler": "speechgate"}]}]}`, nil},
		"at the default":     {`{"routes": [{"handle": [{"handler": "speechgate_issue"}]}]}`, []string{issue.DefaultPath}},
		"at two of its own":  {`[{"handler": "speechgate_issue", "path": "/a"}, {"handler": "subroute", "routes": [{"handler": "speechgate_issue", "path": "/b"}]}]`, []string{"/a", "/b"}},
		"with every option":  {`[{"handler": "speechgate_issue", "default_lifetime": 1000000000, "max_lifetime": "1h", "cors": ["*"]}]`, []string{issue.DefaultPath}},
		"in a handler's box": {`[{"handler": "speechgate_issue", "path": "/a", "handle": [{"handler": "speechgate_issue", "path": "/b"}]}]`, []string{"/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := defaultGates()
			if tt.config != "" {
				var err error
				if found, err = gatesOf([]byte(tt.config)); err != nil {
					t.Fatal(err)
				}
			}
			for _, path := range []string{issue.DefaultPath, "/a", "/b", "/a/", "/"} {
				if got := slices.Contains(found.IssuePaths, path); got != slices.Contains(tt.paths, path) {
					t.Errorf("issues at %s: %v", path, got)
				}
			}
		})
	}
}

func TestOperatorName_SaysForWhomSudoRunsACommand(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ user, sudo, want string }{
		{"caddy", "", "caddy"},
		{"caddy", "caddy", "caddy"},
		{"caddy", "ada", "caddy for ada"},
		{"caddy", "ada lovelace", "caddy"},
		{"caddy", "-ada", "caddy"},
	} {
		if got := operatorName(test.user, test.sudo); got != test.want {
			t.Errorf("user %q and SUDO_USER %q: got %q, want %q", test.user, test.sudo, got, test.want)
		}
	}
}
