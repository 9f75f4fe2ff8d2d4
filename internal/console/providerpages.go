package console

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/policy"
)

// providerAnswers is the path that a provider sends browsers back to. It is registered there.
const providerAnswers = "oidc/callback"

// redirectURL returns the URL that the provider sends the browser back to.
func (v *visit) redirectURL() string {
	return strings.TrimSuffix(v.consoleURL(), "/") + "/" + providerAnswers
}

// goToProvider sends the browser to the provider. It answers a link and not a form, because the
// policy form-action would stop the way from a form to another site.
func goToProvider(v *visit) error {
	if v.settings.Provider == nil {
		return v.notFound()
	}
	if v.user() != nil {
		return v.redirect(v.settings.Path)
	}
	flow := openid.NewFlow()
	to, err := v.settings.Provider.Begin(v.r.Context(), v.now, flow, v.redirectURL())
	if err != nil {
		return v.providerProblem(err)
	}
	// The provider is another site, so the browser brings no cookie that is strict from there.
	v.setSecret(flowName, flow.Reveal()+"."+strings.TrimPrefix(v.wanted(), v.settings.Path), http.SameSiteLaxMode, openid.FlowTime)
	return v.redirect(to)
}

// comeFromProvider answers the browser that comes back.
func comeFromProvider(v *visit) error {
	v.setupHeader()
	switch {
	case v.settings.Provider == nil, v.r.Method != http.MethodGet:
		return v.notFound()
	case v.caller.EarlyData:
		return v.problem(http.StatusTooEarly, "Try again", "The request came too early in the connection. Send it again.")
	}
	flow, next, _ := strings.Cut(v.cookie(v.hostCookie(flowName)), ".")
	v.setSecret(flowName, "", http.SameSiteLaxMode, 0) // an answer is taken once
	finish := func(ctx context.Context) (openid.Person, error) {
		return v.settings.Provider.Finish(ctx, v.now, policy.NewSecret(flow), v.redirectURL(), v.r.URL.Query())
	}
	token, err := v.settings.SignIn.SignInAt(v.r.Context(), v.try(), finish, v.token)
	if err != nil {
		return v.providerProblem(err)
	}
	v.setSession(token)
	// The session's cookie is strict: the browser would not send it if this answer were a
	// redirect, because the way began at the provider. It sends it from a page of the console.
	to := v.settings.Path
	if nextForm.MatchString(next) {
		to += next
	}
	return v.show("signed-in", "You are signed in", to)
}

// providerProblem shows why a sign-in at the provider has failed.
func (v *visit) providerProblem(err error) error {
	name := v.settings.Provider.Name()
	stranger, isStranger := errors.AsType[*signin.StrangerError](err)
	refused, isRefused := errors.AsType[*openid.RefusedError](err)
	_, isAway := errors.AsType[*openid.AwayError](err)
	_, isAnswer := errors.AsType[*openid.AnswerError](err)
	_, isToken := errors.AsType[*openid.TokenError](err)
	if isAway || isAnswer || isToken || isRefused && refused.Code != "access_denied" {
		v.settings.Failed(v.r, err)
	}
	switch {
	case isStranger:
		return v.problem(http.StatusForbidden, "You are not signed in", "%s says that you are %s, and no operator signs in there by this name. Ask the operator of the service for an invitation, and sign in there while the invitation works.", name, stranger.Name)
	case isRefused:
		return v.problem(http.StatusForbidden, "You are not signed in", "%s refuses the sign-in: %s.", name, refused.Code)
	case isAnswer, isToken:
		return v.problem(http.StatusForbidden, "You are not signed in", "The answer of %s was refused. The server's log says why.", name)
	case isAway:
		return v.problem(http.StatusServiceUnavailable, "You are not signed in", "%s cannot be reached right now. Try again in a moment. Users with a password can sign in.", name)
	case errors.Is(err, openid.ErrNoEmail):
		return v.problem(http.StatusForbidden, "You are not signed in", "%s has no verified email address of yours.", name)
	case errors.Is(err, openid.ErrForeign):
		return v.problem(http.StatusBadRequest, "You are not signed in", "This browser has not begun the sign-in, or it has taken more than %d minutes. Begin again.", openid.FlowTime/60)
	case errors.Is(err, openid.ErrBusy):
		return signin.ErrBusy
	}
	return err
}
