package caddymodule_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// A misspelt pepper is not added to a store. A store that has it already can be opened.
func TestR18_MisspeltPepperIsNeverAdded(t *testing.T) {
	for i, pepper := range []string{"{env.PEPPER", "$PEPPER", "env.PEPPER", "x", "seasoned-not-by"} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			s := newServer(t)
			s.mustStart() // without a pepper
			s.global = "pepper `" + pepper + "`"
			err := s.start()
			if err == nil || !strings.Contains(err.Error(), "opening the keystore: ") || !strings.Contains(err.Error(), ": pepper: ") || strings.Contains(err.Error(), "seasoned") {
				t.Errorf("error %v", err)
			}
			s.global = ""
			s.mustStart() // the store has none
			s.place = storetest.New(t)
			cfg := s.place.CommandLine()
			cfg.Pepper = policy.NewSecret(pepper)
			old, err := keystore.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			s.global = "pepper `" + pepper + "`"
			_ = s.logged()
			s.mustStart()
			wantCounts(t, s.logged("the keystore has this pepper already, and keeps it"), 1)
		})
	}
}

func TestPepper_AddingItIsLoggedAsAWarning(t *testing.T) {
	s := newServer(t)
	s.mustStart()
	s.keys = s.openStore()
	s.account = s.newAccount("Test")
	s.issue(keystore.NewKey{})
	s.issue(keystore.NewKey{})
	_ = s.logged()
	s.global = "pepper 0123456789abcdef"
	s.mustStart()
	wantCounts(t, s.logged("the configured pepper was added to the keystore", `"digests":3`), 1, 1)
}

// A configuration that is refused for another reason adds no pepper: with it, the running
// configuration could not check a key any more.
func TestR17_RefusedReloadAddsNoPepper(t *testing.T) {
	s := newServer(t)
	s.mustStart()
	s.keys = s.openStore()
	s.account = s.newAccount("Test")
	key, secret := s.issue(keystore.NewKey{})
	s.recordJob("job", key, now())
	_ = s.logged()
	options := s.options
	s.global, s.options = "pepper 0123456789abcdef", "upstream_key {env.NOT_SET_ANYWHERE}"
	if err := s.start(); err == nil || !strings.Contains(err.Error(), "NOT_SET_ANYWHERE") {
		t.Errorf("error %v", err)
	}
	wantCounts(t, s.logged("the configured pepper was added to the keystore"), 0)
	if got := s.poll("job", secret); got.status != http.StatusOK {
		t.Errorf("a good key after the refused reload: status %d", got.status)
	}
	s.global, s.options = "", options
	s.mustStart()
	if got := s.poll("job", secret); got.status != http.StatusOK {
		t.Errorf("a good key after the next reload: status %d", got.status)
	}
}
