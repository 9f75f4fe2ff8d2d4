package console

import "net/http"

// operatorRoutes returns the URLs of the operators' pages.
func operatorRoutes() []route {
	get, post := http.MethodGet, http.MethodPost
	return []route{
		{get, "operator/accounts", operators, accountsPage},
		{get, "operator/accounts/new", operators, newAccountPage},
		{post, "operator/accounts/new", operators, createAccount},
		{get, "operator/accounts/{id}", operators, accountPage},
		{post, "operator/accounts/{id}/invite", operators, inviteAccount},
		{post, "operator/accounts/{id}/rename", operators, renameAccount},
		{post, "operator/accounts/{id}/rotate", operators, rotateAccount},
		{post, "operator/accounts/{id}/limits", operators, limitAccount},
		{post, "operator/accounts/{id}/suspend", operators, suspendAccount},
		{post, "operator/accounts/{id}/resume", operators, resumeAccount},
		{post, "operator/accounts/{id}/close", operators, closeAccount},

		{get, "operator/keys", operators, allKeysPage},
		{get, "operator/keys/{id}", operators, anyKeyPage},
		{post, "operator/keys/{id}/revoke", operators, revokeKey},
		{post, "operator/keys/{id}/suspend", operators, suspendKey},
		{post, "operator/keys/{id}/resume", operators, resumeKey},
		{get, "operator/leaked", operators, leakedPage},
		{post, "operator/leaked", operators, findLeaked},
		{get, "operator/forecast", operators, forecastPage},

		{get, "operator/streams", operators, streamsPage},
		{post, "operator/streams/cut", operators, cutStream},
		{get, "operator/jobs", operators, allJobsPage},
		{get, "operator/grace", operators, gracePage},
		{get, "operator/refusals", operators, refusalsPage},
		{get, "operator/refusals/events", watchers, refusalEvents},
		{get, "operator/explain", operators, explainPage},
		{post, "operator/explain", operators, explain},
		{get, "operator/operators", operators, operatorsPage},
		{post, "operator/operators/invite", operators, inviteOperator},
		{post, "operator/operators/remove", operators, removeOperator},
		{get, "operator/audit", operators, auditPage},
		{post, "operator/audit", operators, verifyAudit},
		{get, "operator/health", operators, healthPage},

		{get, "usage", anyUser, usagePage},
	}
}
