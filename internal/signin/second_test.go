package signin

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// prove gives a code in a new half session, and returns the error.
func (f *fixture) prove(code string) error {
	f.t.Helper()
	half, passed := f.signIn("tanaka", aPassword, policy.Secret{})
	if passed {
		f.t.Fatal("the password alone begins a whole session")
	}
	user, _ := f.user(half)
	token, err := f.Code(f.t.Context(), f.try, user, code, half)
	if (err == nil) == token.Empty() {
		f.t.Errorf("token %t with %v", !token.Empty(), err)
	}
	return err
}

func TestCode_ReplacesTheHalfSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	app, _ := f.enrol(f.tanaka())
	f.advance(codeStep)
	half, passed := f.signIn("tanaka", aPassword, policy.Secret{})
	user, whole := f.user(half)
	if passed || whole {
		t.Fatalf("the password alone passes: %t, %t", passed, whole)
	}
	if _, err := f.Code(t.Context(), f.try, user, "000000", half); !errors.Is(err, ErrWrongCode) {
		t.Errorf("a wrong code: %v", err)
	}
	if _, whole := f.user(half); whole {
		t.Error("a wrong code passes")
	}
	token, err := f.Code(t.Context(), f.try, user, f.code(app, 0), half)
	if err != nil {
		t.Fatal(err)
	}
	if _, whole := f.user(token); !whole || token.Reveal() == half.Reveal() {
		t.Error("the right code does not begin a whole session")
	}
	if _, err := f.Session(t.Context(), f.try, half); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the half session: %v, want ErrNotFound", err)
	}
}

func TestCode_AHalfSessionEndsAfterTenMinutes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.enrol(f.tanaka())
	half, _ := f.signIn("tanaka", aPassword, policy.Secret{})
	f.advance(HalfTime - time.Millisecond)
	f.user(half)
	f.advance(time.Millisecond)
	if _, err := f.Session(t.Context(), f.try, half); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

func TestCode_WorksOnceAndNeverAfterALaterOne(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	app, _ := f.enrol(f.tanaka())
	if err := f.prove(f.code(app, 0)); !errors.Is(err, ErrWrongCode) {
		t.Errorf("the code of the enrolment: %v", err)
	}
	f.advance(10 * codeStep)
	for _, c := range []struct {
		steps int
		want  error
	}{
		{-2, ErrWrongCode},
		{2, ErrWrongCode}, // too far away
		{-1, nil},
		{-1, ErrWrongCode},
		{1, nil},
		{1, ErrWrongCode},
		{0, ErrWrongCode},
		{-1, ErrWrongCode}, // earlier than the last one
	} {
		if err := f.prove(f.code(app, c.steps)); !errors.Is(err, c.want) {
			t.Errorf("the code %d steps away: %v, want %v", c.steps, err, c.want)
		}
	}
	f.advance(20 * time.Minute)
	code := f.code(app, 0)
	if err := f.prove(code[:3] + " " + code[3:]); err != nil {
		t.Errorf("a code with a space: %v", err)
	}
}

func TestCode_ARecoveryCodeWorksOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, recovery := f.enrol(f.tanaka())
	if len(recovery) != recoveryCodes {
		t.Fatalf("%d recovery codes", len(recovery))
	}
	for _, c := range []struct {
		code string
		want error
	}{
		{recovery[3].Reveal(), nil},
		{recovery[3].Reveal(), ErrWrongCode},
		{strings.ToUpper(strings.ReplaceAll(recovery[4].Reveal(), "-", " ")), nil},
		{strings.ReplaceAll(recovery[4].Reveal(), "-", ""), ErrWrongCode},
		{strings.ReplaceAll(recovery[5].Reveal(), "-", "－"), nil}, // full width
		{recovery[6].Reveal()[:5], ErrWrongCode},
		{"", ErrWrongCode},
		{strings.Repeat(" ", 300) + recovery[6].Reveal(), ErrWrongCode},
	} {
		if err := f.prove(c.code); !errors.Is(err, c.want) {
			t.Errorf("the code %q: %v, want %v", c.code, err, c.want)
		}
	}
}

func TestCode_TenTriesInAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	app, _ := f.enrol(f.tanaka())
	f.advance(time.Minute)
	user, _ := f.user(func() policy.Secret { half, _ := f.signIn("tanaka", aPassword, policy.Secret{}); return half }())
	for range codeRule.Failures {
		if _, err := f.Code(t.Context(), f.try, user, "", policy.Secret{}); !errors.Is(err, ErrWrongCode) {
			t.Fatal(err)
		}
	}
	code := f.code(app, 0)
	if wait, ok := errors.AsType[*WaitError](f.prove(code)); !ok || wait.Seconds != 900 {
		t.Errorf("the good code after ten others: %+v, want 900 seconds", wait)
	}
	f.advance(15 * time.Minute)
	if err := f.prove(f.code(app, 0)); err != nil {
		t.Errorf("after a quarter of an hour: %v", err)
	}
}

func TestSecondFactor_NeedsThePasswordAndTheCode(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	own := f.tanaka()
	other, _ := f.signIn("tanaka", aPassword, policy.Secret{})
	user, _ := f.user(own)
	made, err := Enrol("Speech: gate", "tanaka", policy.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Enrol("Speech: gate", "tanaka", made.Secret); err != nil || again.URL.Reveal() != made.URL.Reveal() {
		t.Errorf("the secret again: %v", err)
	}
	good := f.code(made.Secret, 0)
	for _, c := range []struct {
		name             string
		password, secret string
		code             string
		want             error
	}{
		{"a wrong password", another, made.Secret.Reveal(), good, ErrWrong},
		{"a wrong code", aPassword, made.Secret.Reveal(), f.code(made.Secret, 5), ErrWrongCode},
		{"no code", aPassword, made.Secret.Reveal(), "", ErrWrongCode},
		{"no secret", aPassword, "", good, ErrSecret},
		{"a short secret", aPassword, made.Secret.Reveal()[:16], good, ErrSecret},
	} {
		_, err := f.AddSecondFactor(t.Context(), f.try, user, secret(c.password), secret(c.secret), c.code, own)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	f.user(other) // nothing has changed
	app, _ := f.enrol(own)
	if _, err := f.Session(t.Context(), f.try, other); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the other session: %v, want ErrNotFound", err)
	}
	if user, _ := f.user(own); user.SecondFactor.Reveal() != app.Reveal() {
		t.Error("the user has another second factor")
	}

	user, _ = f.user(own)
	if err := f.RemoveSecondFactor(t.Context(), f.try, user, secret(another), own); !errors.Is(err, ErrWrong) {
		t.Errorf("removing with a wrong password: %v", err)
	}
	if _, passed := f.signIn("tanaka", aPassword, policy.Secret{}); passed {
		t.Error("the second factor is gone")
	}
	if err := f.RemoveSecondFactor(t.Context(), f.try, user, secret(aPassword), own); err != nil {
		t.Fatal(err)
	}
	if _, passed := f.signIn("tanaka", aPassword, policy.Secret{}); !passed {
		t.Error("the second factor is still asked for")
	}
	// The code of a secret without bytes can be computed by everyone.
	if _, err := f.Code(t.Context(), f.try, &keystore.ConsoleUser{Kind: user.Kind, ID: user.ID, PasswordHash: user.PasswordHash}, f.code(policy.Secret{}, 0), policy.Secret{}); !errors.Is(err, ErrWrongCode) {
		t.Errorf("the code of an empty secret: %v, want ErrWrongCode", err)
	}
}
