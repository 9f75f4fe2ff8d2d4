package options

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// Keys like those of real backends are accepted.
func TestR18_RealUpstreamKeysAreAccepted(t *testing.T) {
	for _, key := range []string{
		"0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF",
		"8a6f8d2c-97a1-4e4e-9b2b-6b1d0c1f2e3d",
		"sk_live_51H8x",
		"c2VjcmV0LWtleQ==",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
		"a$b{c}d$e",
		"$2b$10$abcdefghij",
		"%41bcdefg%",
		"ENV_KEY_1",
		"ABCD-1234",
		"passphrase-of-mine",
		"dropdropdropdrop",
		"<<<=-=>>>a",
		"abKDjeXkqPzR",
		"your-key-is-not-mine!",
	} {
		if err := CheckUpstreamKey(policy.NewSecret(key)); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestR18_MisspeltSecretsAreRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{env.KEY", "no closing brace: want {env.KEY}"},
		{"env.KEY}", "closing brace too many: want {env.KEY}"},
		{"{env.KEY}}", "closing brace too many: want {env.KEY}"},
		{"{{env.KEY}}", "two opening braces"},
		{"{file./run/secrets/key", "want {file./run/secrets/key}"},
		{"{canary", "no closing brace: want a placeholder such as {env.NAME}"},
		{"canary}", "closing brace too many: want a placeholder"},
		{"{canary}", "that Caddy does not know"},
		{"{env.CANARY_UNSET}", "{env.CANARY_UNSET} is not set, is empty or cannot be read"},
		{"{file./nowhere/key}", "{file./nowhere/key} is not set, is empty or cannot be read"},
		{"$KEY", "want {env.KEY}"},
		{"${MY_KEY_2}", "want {env.MY_KEY_2}"},
		{"{$KEY}", "want {env.KEY}"},
		{"%KEY%", "want {env.KEY}"},
		{"$canary", "want {env.NAME}"},
		{"env.KEY", "no braces: want {env.KEY}"},
		{"env:KEY", "no braces: want {env.KEY}"},
		{"file./run/secrets/key", "no braces: want {file./run/secrets/key}"},
		{"file.canary!canary", "want {env.NAME} or {file./run/secrets/name}"},
		{"UPSTREAM_KEY", "want {env.UPSTREAM_KEY}"},
		{"<key>", "brackets around it"},
		{"<your key>", "brackets around it"},
		{"[API key]", "brackets around it"},
		{"changeme", "is to be replaced"},
		{"CHANGE-ME-PLEASE", "is to be replaced"},
		{"your-api-key", "is to be replaced"},
		{"xxxxxxxxxxxxxxxxxxxx", "is to be replaced"},
		{"...", "is to be replaced"},
		{"\"canary-canary-canary\"", "quotation marks around it"},
		{"'canary-canary-canary'", "quotation marks around it"},
		{" canary-canary-canary", "begins or ends with a space"},
		{"canary-canary-canary\n", "begins or ends with a space or a line break"},
		{"\ufeffcanary-canary-canary", "byte order mark"},
	} {
		secret, err := ResolveSecret(c.text)
		if err == nil {
			err = checkMeant(secret.Reveal())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: error %v, want one with %q that shows no secret", c.text, err, c.want)
		}
		// As a pepper, the text is a fault or an error, and not both.
		if _, fault, err := ResolvePepper(c.text); (fault == nil) == (err == nil) {
			t.Errorf("%q as a pepper: fault %v, error %v, want one of them", c.text, fault, err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"drop ", "begins or ends"},
		{"Drop", "want drop, in lower case"},
		{"PASS", "want pass, in lower case"},
		{"none", "want drop"},
		{"off", "want drop"},
		{"-", "want drop"},
		{"keep", "want pass"},
		{"v", "fewer than 8 characters"},
		{"1234567", "fewer than 8 characters"},
		{"reverseproxy", "characters and only letters"},
		{"AMIVOICE", "characters and only letters"},
		{"token canarycanarycanary", "want the key alone"},
	} {
		if err := CheckUpstreamKey(policy.NewSecret(c.text)); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("upstream_key %q: error %v, want %q", c.text, err, c.want)
		}
	}
}

// placeholderInError matches a placeholder within an error.
var placeholderInError = regexp.MustCompile(`\{(env\.[A-Za-z_][A-Za-z0-9_]*|file\.[A-Za-z0-9_./\\: -]+)\}`)

// No error shows a secret, in any misspelling.
func TestR18_NoErrorShowsAConfiguredSecret(t *testing.T) {
	const canary = "ca9naRy"
	part := rapid.SampledFrom([]string{"{", "}", "$", "%", "env.", "file.", "<", ">", "'", "\"", " ", "\\", "Bearer ", "drop", "", "\n"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(part, 0, 4).Draw(t, "before"), "") + canary + strings.Join(rapid.SliceOfN(part, 0, 4).Draw(t, "after"), "")
		errs := []error{CheckUpstreamKey(policy.NewSecret(text)), checkPepper(policy.NewSecret(text))}
		_, err := ResolveSecret(text)
		_, fault, errOfPepper := ResolvePepper(text)
		for _, err := range append(errs, err, fault, errOfPepper) {
			if err == nil || !strings.Contains(err.Error(), canary) {
				continue
			}
			// The name of a placeholder is not a secret.
			if shown := placeholderInError.ReplaceAllString(err.Error(), ""); strings.Contains(shown, canary) {
				t.Fatalf("%q: %v", text, err)
			}
		}
	})
}
