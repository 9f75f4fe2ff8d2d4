package console

import "net/http"

// routes returns the table of all URLs of the console. A page of the operator's or of the
// account holder's is a line here, a file in pages, and a function that fills it.
//
// The tests try every line with a session of another account, with no session, from another
// origin, and with IDs of other accounts.
func routes() []route {
	get, post := http.MethodGet, http.MethodPost
	return append(operatorRoutes(), []route{
		{get, "sign-in", everyone, signInPage},
		{post, "sign-in", everyone, signIn},
		{post, "sign-in/passkey/options", everyone, askPasskey},
		{post, "sign-in/passkey", everyone, signInWithPasskey},
		{get, "code", halfway, codePage},
		{post, "code", halfway, giveCode},
		{get, "oidc", everyone, goToProvider},
		{get, providerAnswers, everyone, comeFromProvider},
		{get, "setup/{token}", everyone, setupPage},
		{post, "setup/{token}", everyone, setUp},
		{post, "preferences", everyone, savePreferences},

		{get, "", anyUser, startPage},
		{post, "sign-out", anyUser, signOut},
		{post, "sign-out-everywhere", anyUser, signOutEverywhere},
		{get, "settings", anyUser, settingsPage},
		{post, "settings/password", anyUser, changePassword},
		{post, "settings/second-factor", anyUser, addSecondFactor},
		{post, "settings/second-factor/remove", anyUser, removeSecondFactor},
		{post, "settings/passkeys/options", anyUser, offerPasskey},
		{post, "settings/passkeys", anyUser, addPasskey},
		{post, "settings/passkeys/remove", anyUser, removePasskey},

		{get, "keys", holders, keysPage},
		{get, "keys/new", holders, newKeyPage},
		{post, "keys/new", holders, newKey},
		{post, "keys/addresses", holders, checkAddresses},
		{get, "keys/{id}", holders, keyPage},
		{post, "keys/{id}/rename", holders, renameKey},
		{post, "keys/{id}/delete", holders, deleteKey},
		{get, "jobs", holders, jobsPage},
		{get, "explain", holders, explainPage},
		{post, "explain", holders, explain},
	}...)
}
