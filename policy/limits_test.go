package policy_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func TestR20_LimitsAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":               "",
		" ":              "",
		"requests=60/m":  "requests=60/m",
		"concurrent=4":   "concurrent=4",
		"streams=2":      "streams=2",
		"audio=3600s/d":  "audio=3600s/d",
		"audio=1h/d":     "audio=3600s/d",
		"audio=1h30m/d":  "audio=5400s/d",
		"audio-total=1s": "audio-total=1s",
		"audio-total=36000s audio=3600s/d streams=2,concurrent=4\trequests=60/m":         "requests=60/m concurrent=4 streams=2 audio=3600s/d audio-total=36000s",
		"operations=create_job,recognize":                                                "operations=recognize,create_job",
		"operations=stream,requests=1/m,":                                                "requests=1/m operations=stream",
		"concurrent=1,operations=recognize,stream,streams=1":                             "concurrent=1 streams=1 operations=recognize,stream",
		"operations=recognize,create_job,read_job,delete_job,stream,list_jobs,info,mint": "operations=recognize,create_job,read_job,delete_job,stream,list_jobs,info,mint",
		"requests=1000000000/m audio-total=1000000000s":                                  "requests=1000000000/m audio-total=1000000000s",
	} {
		l, err := policy.ParseLimits(text)
		if err != nil || l.String() != want {
			t.Errorf("%q became %q, %v, want %q", text, l, err, want)
		}
		again, err := policy.ParseLimits(l.String())
		if err != nil || again != l || l.None() != (want == "") {
			t.Errorf("%q became %+v, %v when it was read again", l, again, err)
		}
	}
}

func TestR20_MistakesInLimitsAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"request=60/m":               `unknown limit "request": want requests, concurrent, streams, audio, audio-total or operations, such as requests=60/m`,
		"=4":                         `unknown limit ""`,
		"60/m":                       `unknown limit "60/m"`,
		"none":                       `unknown limit "none"`,
		"requests":                   `the limit "requests": want requests a minute`,
		"requests=60":                "want requests a minute, from 1/m to 1000000000/m, such as requests=60/m",
		"requests=1/s":               "want requests a minute",
		"requests=0/m":               "want requests a minute",
		"requests=-1/m":              "want requests a minute",
		"requests=+1/m":              "want requests a minute",
		"requests=06/m":              "want requests a minute",
		"requests=1e3/m":             "want requests a minute",
		"requests=/m":                "want requests a minute",
		"requests=1000000001/m":      "want requests a minute",
		"requests=none":              "want requests a minute",
		"requests=99999999999999/m":  "want requests a minute",
		"concurrent=0":               "want a number from 1 to 1000000000, such as concurrent=4",
		"concurrent=4/m":             "want a number from 1",
		"streams=":                   "want a number from 1 to 1000000000, such as streams=4",
		"audio=3600s":                "want whole seconds of audio a day, such as audio=3600s/d",
		"audio=3600/d":               "want whole seconds of audio a day",
		"audio=0s/d":                 "want whole seconds of audio a day",
		"audio=1500ms/d":             "want whole seconds of audio a day",
		"audio=-1s/d":                "want whole seconds of audio a day",
		"audio=+1s/d":                "want whole seconds of audio a day",
		"audio-total=10s/d":          "want whole seconds of audio, such as audio-total=36000s",
		"audio-total=300000h":        "want whole seconds of audio",
		"operations=":                `unknown operation "": want some of recognize, create_job, read_job, delete_job, stream, list_jobs, info, mint`,
		"operations=unlisted":        `unknown operation "unlisted"`,
		"operations=upload":          `unknown operation "upload"`,
		"operations=issue_key":       `unknown operation "issue_key"`,
		"operations=recognize,,":     "",
		"operations=recognize,,mint": `unknown operation ""`,
		"streams=1 streams=2":        "the limit streams is given twice: want it once",
		"streams=1,streams=1":        "is given twice",
	} {
		l, err := policy.ParseLimits(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !l.None()):
			t.Errorf("%q became %+v, %v, want an error with %q", text, l, err, want)
		}
	}
}

func someLimits() *rapid.Generator[policy.Limits] {
	return rapid.Custom(func(t *rapid.T) policy.Limits {
		number := func(label string) uint32 { return rapid.Uint32Range(0, 4).Draw(t, label) }
		names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"recognize", "create_job", "stream", "mint"}), rapid.ID[string]).Draw(t, "operations")
		l := policy.Limits{Requests: number("requests"), Concurrent: number("concurrent"), Streams: number("streams"), AudioDay: number("audio"), AudioTotal: number("total")}
		if len(names) > 0 {
			of, err := policy.ParseLimits("operations=" + strings.Join(names, ","))
			if err != nil {
				t.Fatal(err)
			}
			l.Operations = of.Operations
		}
		return l
	})
}

func TestR20_LimitsSurviveTheirText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := someLimits().Draw(t, "limits")
		if again, err := policy.ParseLimits(l.String()); err != nil || again != l {
			t.Fatalf("%+v became %q, and that %+v, %v", l, l, again, err)
		}
	})
}

// allows reports whether limits allow a use: so many requests a minute, and so on.
func allows(l policy.Limits, use policy.Limits, op policy.Operation) bool {
	within := func(limit, use uint32) bool { return limit == 0 || use <= limit }
	return within(l.Requests, use.Requests) && within(l.Concurrent, use.Concurrent) && within(l.Streams, use.Streams) &&
		within(l.AudioDay, use.AudioDay) && within(l.AudioTotal, use.AudioTotal) && l.Operations.Allows(op)
}

func TestR20_AChildKeyNeverGetsMoreThanItsIssuer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		issuer := &policy.Key{Limits: someLimits().Draw(t, "issuer")}
		asked := someLimits().Draw(t, "asked")
		child := asked.Inherit(issuer.Limits)
		use, op := someLimits().Draw(t, "use"), rapid.SampledFrom(listed).Draw(t, "operation")
		err := policy.CheckChildLimits(issuer, child)
		if err == nil && allows(child, use, op) && !allows(issuer.Limits, use, op) {
			t.Fatalf("the child with %q may use %+v of %v, and its issuer with %q may not", child, use, op, issuer.Limits)
		}
		if !asked.None() && err != nil && !strings.Contains(err.Error(), "would allow more than that of the key that issues it, which is ") {
			t.Fatal(err)
		}
		if err := policy.CheckChildLimits(issuer, policy.Limits{}.Inherit(issuer.Limits)); err != nil {
			t.Fatalf("a child that asks for nothing is refused: %v", err)
		}
		if err := policy.CheckChildLimits(&policy.Key{}, asked); err != nil {
			t.Fatalf("an issuer without limits refuses: %v", err)
		}
	})
	issuer := &policy.Key{Limits: limits(t, "requests=60/m operations=recognize")}
	for text, want := range map[string]string{
		"requests=60/m operations=recognize":          "",
		"requests=61/m operations=recognize":          "its limit requests would allow more than that of the key that issues it, which is requests=60/m",
		"operations=recognize":                        "its limit requests would allow more",
		"requests=1/m":                                "its limit operations would allow more than that of the key that issues it, which is operations=recognize",
		"requests=1/m operations=recognize,stream":    "its limit operations would allow more",
		"requests=1/m streams=9 operations=recognize": "",
	} {
		err := policy.CheckChildLimits(issuer, limits(t, text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestR20_AChangeOfLimitsKeepsTheOthers(t *testing.T) {
	t.Parallel()
	const before = "requests=60/m streams=2 operations=recognize"
	for text, want := range map[string]string{
		"requests=6/m":               "requests=6/m streams=2 operations=recognize",
		"requests=none":              "streams=2 operations=recognize",
		"operations=none":            "requests=60/m streams=2",
		"concurrent=3, streams=none": "requests=60/m concurrent=3 operations=recognize",
		"concurrent=none":            before,
		"none":                       "",
		" none ":                     "",
		"audio=1h/d":                 "requests=60/m streams=2 audio=3600s/d operations=recognize",
		"audio-total=none":           before,
		"operations=stream,mint":     "requests=60/m streams=2 operations=stream,mint",
		"streams=none,requests=none": "operations=recognize",
	} {
		change, err := policy.ParseLimitChange(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := change.Apply(limits(t, before)); got.String() != want {
			t.Errorf("%q makes %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                           "there is no limit in it: want some, such as requests=600/m, or none",
		"none streams=2":             `unknown limit "none"`,
		"streams=2 streams=none":     "streams is given twice",
		"streams=none streams=2":     "streams is given twice",
		"streams=none streams=none":  "streams is given twice",
		"requests=no":                "want requests a minute",
		"operations=none,recognize":  `unknown operation "none"`,
		"operations=recognize,,none": `unknown operation ""`,
	} {
		if change, err := policy.ParseLimitChange(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q became %+v, %v, want an error with %q", text, change, err, want)
		}
	}
}

func TestR20_DecideKnowsTheLimits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		key, account string
		op           policy.Operation
		met          policy.LimitName
		want         policy.Reason
		limit        policy.LimitName
		byAccount    bool
	}{
		"no limits":                        {"", "", policy.Recognize, 0, policy.Allowed, 0, false},
		"an operation of the key":          {"operations=recognize,create_job", "", policy.Recognize, 0, policy.Allowed, 0, false},
		"an upload for a job":              {"operations=create_job", "operations=create_job", policy.Upload, 0, policy.Allowed, 0, false},
		"an upload without a job":          {"operations=stream", "", policy.Upload, 0, policy.OperationRefused, policy.LimitOperations, false},
		"another operation":                {"operations=recognize,create_job", "", policy.Stream, 0, policy.OperationRefused, policy.LimitOperations, false},
		"another one of the account":       {"", "operations=stream", policy.Recognize, 0, policy.OperationRefused, policy.LimitOperations, true},
		"a poll of a key for streams":      {"operations=stream", "operations=stream", policy.ReadJob, 0, policy.Allowed, 0, false},
		"a deletion":                       {"operations=create_job", "", policy.DeleteJob, 0, policy.OperationRefused, policy.LimitOperations, false},
		"a deletion that may be":           {"operations=delete_job", "", policy.DeleteJob, 0, policy.Allowed, 0, false},
		"a token":                          {"operations=stream", "", policy.Mint, 0, policy.OperationRefused, policy.LimitOperations, false},
		"a list of models":                 {"operations=stream", "", policy.Info, 0, policy.OperationRefused, policy.LimitOperations, false},
		"issuing a key":                    {"operations=stream", "", policy.IssueKey, 0, policy.Allowed, 0, false},
		"too many requests":                {"requests=1/m", "", policy.Recognize, policy.LimitRequests, policy.LimitReached, policy.LimitRequests, false},
		"too many requests at a time":      {"concurrent=1", "", policy.Recognize, policy.LimitConcurrent, policy.LimitReached, policy.LimitConcurrent, false},
		"a poll beyond all limits":         {"operations=stream requests=1/m", "", policy.ReadJob, policy.LimitRequests, policy.Allowed, 0, false},
		"too many streams":                 {"streams=1", "", policy.Stream, policy.LimitStreams, policy.StreamLimit, policy.LimitStreams, false},
		"too much audio":                   {"audio=1s/d", "", policy.Recognize, policy.LimitAudioDay, policy.LimitReached, policy.LimitAudioDay, false},
		"too much audio in all":            {"audio-total=1s", "", policy.Recognize, policy.LimitAudioTotal, policy.LimitReached, policy.LimitAudioTotal, false},
		"the operation decides before any": {"operations=stream requests=1/m", "", policy.Recognize, policy.LimitRequests, policy.OperationRefused, policy.LimitOperations, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := limited(t, tt.key, tt.account)
			key.Issuable = true
			got := policy.Decide(during, key, &policy.Request{Operation: tt.op, Job: ownJob(), Met: tt.met}, policy.Rules{})
			if want := (policy.Decision{Reason: tt.want, Limit: tt.limit, ByAccount: tt.byAccount}); got != want {
				t.Errorf("decided %+v, want %+v", got, want)
			}
		})
	}
	// A key that has ended is refused for that, and not for a limit.
	key := limited(t, "operations=stream", "")
	if got := policy.Decide(after, key, &policy.Request{Operation: policy.Recognize, Met: policy.LimitRequests}, policy.Rules{}); got.Reason != policy.KeyExpired {
		t.Errorf("an expired key is refused for %v", got.Reason)
	}
}

func TestR20_WhatIsExceededIsNamed(t *testing.T) {
	t.Parallel()
	own, err := policy.ParseLimits("requests=60/m concurrent=4 streams=2 audio=3600s/d audio-total=36000s operations=recognize")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := policy.ParseLimits("requests=90/m concurrent=5 streams=3 audio=7200s/d audio-total=72000s operations=stream")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[policy.LimitName][2]string{
		policy.NoLimit:         {"", ""},
		policy.LimitRequests:   {"the request would exceed the key's limit requests=60/m", "the request would exceed the account's limit requests=90/m"},
		policy.LimitConcurrent: {"the request would exceed the key's limit concurrent=4", "the request would exceed the account's limit concurrent=5"},
		policy.LimitStreams:    {"the request would exceed the key's limit streams=2", "the request would exceed the account's limit streams=3"},
		policy.LimitAudioDay:   {"the key's limit audio=3600s/d is used up", "the account's limit audio=7200s/d is used up"},
		policy.LimitAudioTotal: {"the key's limit audio-total=36000s is used up", "the account's limit audio-total=72000s is used up"},
		policy.LimitOperations: {"the operation is not within the key's limit operations=recognize", "the operation is not within the account's limit operations=stream"},
	} {
		if got := [2]string{policy.Exceeded(&own, &shared, n, false), policy.Exceeded(&own, &shared, n, true)}; got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}

func TestLimitNames_haveWords(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, n := range policy.LimitNames() {
		if n.String() == "" || seen[n.String()] || n.Reason().OK() || n.Reason() == policy.Undecided {
			t.Errorf("%d: %q, %v", n, n, n.Reason())
		}
		seen[n.String()] = true
	}
	if policy.NoLimit.String() != "" || policy.LimitName(99).String() != "" || policy.NoLimit.Reason() != policy.Undecided {
		t.Error("a word for no limit")
	}
}

func FuzzParseLimits(f *testing.F) {
	f.Add("requests=60/m concurrent=4 streams=2 audio=3600s/d audio-total=36000s operations=recognize,create_job")
	f.Add("operations=stream,requests=1/m,,")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := policy.ParseLimits(text)
		if err != nil {
			if !l.None() {
				t.Errorf("%+v with the error %v", l, err)
			}
			return
		}
		if again, err := policy.ParseLimits(l.String()); err != nil || again != l {
			t.Errorf("%q became %q, and that %+v, %v", text, l, again, err)
		}
		if l.None() && strings.ContainsRune(text, '=') {
			t.Errorf("%q became no limits", text)
		}
	})
}
