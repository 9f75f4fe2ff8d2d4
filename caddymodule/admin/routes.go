package admin

import (
	"net/http"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

// routes returns the table of the admin API.
func routes() []*route {
	all := accountRoutes()
	all = append(all, keyRoutes()...)
	all = append(all, recordRoutes()...)
	return append(all, serverRoutes()...)
}

// The bodies of requests that package manage has no type for.
type (
	newAccountBody struct {
		manage.NewAccount

		ServicePassword string `json:"service_password"`
	}
	nameBody struct {
		Name string `json:"name"`
	}
	labelBody struct {
		Label string `json:"label"`
	}
	reasonBody struct {
		Reason string `json:"reason"`
	}
	limitsBody struct {
		Limits []string `json:"limits"`
	}
	overlapBody struct {
		Overlap string `json:"overlap"`
	}
	confirmBody struct {
		Confirm bool `json:"confirm"`
	}
	explainBody struct {
		manage.ExplainRequest

		Key string `json:"key"`
	}
)

// noOverlap is the overlap of a rotation that names none: what is rotated ends at once.
const noOverlap = "0"

func (b overlapBody) text() string {
	if b.Overlap == "" {
		return noOverlap
	}
	return b.Overlap
}

func accountRoutes() []*route {
	return []*route{
		get("accounts", "listAccounts", "Lists the accounts, oldest first.", func(c *call, q manage.AccountQuery) (manage.List[manage.Account], error) {
			paged(&q.Page)
			return c.manager.Accounts(c.ctx, q)
		}),
		change(http.MethodPost, "accounts", "createAccount", "Creates an account. Only this answer has its service password, unless the request has one.", func(c *call, b newAccountBody) (manage.Account, error) {
			b.NewAccount.ServicePassword = policy.NewSecret(b.ServicePassword)
			a, err := c.manager.CreateAccount(c.ctx, b.NewAccount)
			c.repeated(a.Repeated)
			return a, err
		}).needs("name").issues(http.StatusCreated),
		get("accounts/{account_id}", "getAccount", "Shows an account.", func(c *call, _ none) (manage.Account, error) {
			return c.manager.Account(c.ctx, c.PathValue("account_id"))
		}),
		change(http.MethodPatch, "accounts/{account_id}", "renameAccount", "Gives an account another name.", func(c *call, b nameBody) (manage.Account, error) {
			return c.manager.RenameAccount(c.ctx, c.PathValue("account_id"), b.Name)
		}).needs("name"),
		change(http.MethodPost, "accounts/{account_id}/rotate", "rotateAccount", "Gives an account a new service ID and a new service password. Only this answer has the password.", func(c *call, b overlapBody) (manage.Account, error) {
			a, err := c.manager.RotateAccount(c.ctx, c.PathValue("account_id"), b.text())
			c.repeated(a.Repeated)
			return a, err
		}).issues(http.StatusOK),
		change(http.MethodPost, "accounts/{account_id}/limits", "limitAccount", "Changes the limits of an account, which count for all its keys together. requests=600/m sets a limit, requests=none removes it, none alone removes all, and the others stay.", func(c *call, b limitsBody) (manage.Account, error) {
			a, err := c.manager.LimitAccount(c.ctx, c.PathValue("account_id"), b.Limits)
			return a.Account, err
		}).needs("limits"),
		change(http.MethodPost, "accounts/{account_id}/suspend", "suspendAccount", "Suspends an account: its keys and its service password are refused until it is resumed.", func(c *call, b reasonBody) (manage.Account, error) {
			a, err := c.manager.SuspendAccount(c.ctx, c.PathValue("account_id"), b.Reason)
			return a.Account, err
		}),
		change(http.MethodPost, "accounts/{account_id}/resume", "resumeAccount", "Ends the suspension of an account.", func(c *call, _ none) (manage.Account, error) {
			a, err := c.manager.ResumeAccount(c.ctx, c.PathValue("account_id"))
			return a.Account, err
		}),
		change(http.MethodPost, "accounts/{account_id}/close", "closeAccount", "Closes an account for good, which ends all its keys.", func(c *call, b confirmBody) (manage.Account, error) {
			a, err := c.manager.CloseAccount(c.ctx, c.PathValue("account_id"), b.Confirm)
			return a.Account, err
		}).needs("confirm"),
	}
}

func keyRoutes() []*route {
	return []*route{
		get("keys", "listKeys", "Lists the keys, oldest first, without their secrets.", func(c *call, q manage.KeyQuery) (manage.List[manage.Key], error) {
			paged(&q.Page)
			return c.manager.Keys(c.ctx, q)
		}),
		change(http.MethodPost, "keys", "issueKey", "Issues a key. Only this answer has its secret.", func(c *call, n manage.NewKey) (manage.Key, error) {
			k, err := c.manager.IssueKey(c.ctx, n)
			c.repeated(k.Repeated)
			return k, err
		}).needs("account_id", "expires").issues(http.StatusCreated),
		get("keys/{key_id}", "getKey", "Shows a key, without its secret.", func(c *call, _ none) (manage.Key, error) {
			return c.manager.Key(c.ctx, c.PathValue("key_id"))
		}),
		get("keys/{key_id}/limits", "getKeyLimits", "Shows how much of their limits a key and its account use at this server.", func(c *call, q limitsQuery) (manage.KeyLimits, error) {
			return c.manager.KeyLimits(c.ctx, c.PathValue("key_id"), q.Operation)
		}),
		change(http.MethodPatch, "keys/{key_id}", "renameKey", "Gives a key another label.", func(c *call, b labelBody) (manage.Key, error) {
			return c.manager.RenameKey(c.ctx, c.PathValue("key_id"), b.Label)
		}).needs("label"),
		change(http.MethodDelete, "keys/{key_id}", "deleteKey", "Deletes a key as the holder of its account can. Refuses a key that came with the account or from the issuance API.", func(c *call, _ none) (manage.EndedKey, error) {
			return c.manager.DeleteKey(c.ctx, c.PathValue("key_id"))
		}),
		change(http.MethodPost, "keys/{key_id}/revoke", "revokeKey", "Revokes a key, no matter where it came from.", func(c *call, r manage.Revocation) (manage.EndedKey, error) {
			return c.manager.RevokeKey(c.ctx, c.PathValue("key_id"), r)
		}),
		change(http.MethodPost, "keys/{key_id}/rotate", "rotateKey", "Issues a key with the rules of another key, which ends after the overlap. Only this answer has the secret of the new key.", func(c *call, b overlapBody) (manage.RotatedKey, error) {
			k, err := c.manager.RotateKey(c.ctx, c.PathValue("key_id"), b.text())
			c.repeated(k.Repeated)
			return k, err
		}).issues(http.StatusCreated),
		change(http.MethodPost, "keys/{key_id}/suspend", "suspendKey", "Suspends a key: it is refused until it is resumed.", func(c *call, b reasonBody) (manage.Key, error) {
			k, err := c.manager.SuspendKey(c.ctx, c.PathValue("key_id"), b.Reason)
			return k.Key, err
		}),
		change(http.MethodPost, "keys/{key_id}/resume", "resumeKey", "Ends the suspension of a key.", func(c *call, _ none) (manage.Key, error) {
			k, err := c.manager.ResumeKey(c.ctx, c.PathValue("key_id"))
			return k.Key, err
		}),
	}
}

// The queries that package manage has no type for, or another name.
type (
	jobsQuery struct {
		manage.Page

		AccountID   string `json:"account_id"`
		KeyID       string `json:"key_id"`
		NewestFirst bool   `json:"newest_first"`
	}
	limitsQuery struct {
		Operation string `json:"operation"`
	}
	jobQuery struct {
		Backend string `json:"backend"`
	}
	usageQuery struct {
		AccountID string `json:"account_id"`
		KeyID     string `json:"key_id"`
		Since     string `json:"since"`
		By        string `json:"by"`
		Limit     int    `json:"limit"`
	}
	verifyQuery struct {
		Head string `json:"head"`
	}
)

// UpstreamKeysPath answers GET with what still needs each upstream key.
const UpstreamKeysPath = root + "upstream-keys"

func recordRoutes() []*route {
	return []*route{
		get("jobs", "listJobs", "Lists the recorded jobs, oldest first.", func(c *call, q jobsQuery) (manage.List[manage.Job], error) {
			paged(&q.Page)
			return c.manager.Jobs(c.ctx, manage.JobQuery{Page: q.Page, AccountID: q.AccountID, KeyID: q.KeyID, NewestFirst: q.NewestFirst})
		}),
		get("jobs/{job_id}", "getJob", "Shows a recorded job.", func(c *call, q jobQuery) (manage.Job, error) {
			return c.manager.Job(c.ctx, c.PathValue("job_id"), q.Backend)
		}),
		get("upstream-keys", "listUpstreamKeys", "Lists the upstream keys of the gates, and what still needs each of them, without the keys.", func(c *call, _ none) ([]manage.UpstreamKey, error) {
			return c.manager.UpstreamKeys(c.ctx)
		}),
		get("audit", "listAudit", "Lists the audit trail, newest entry first.", func(c *call, q manage.AuditQuery) (manage.List[manage.AuditEntry], error) {
			paged(&q.Page)
			return c.manager.Audit(c.ctx, q)
		}),
		get("audit/verify", "verifyAudit", "Checks the audit trail, and finds the first entry that was changed or removed.", func(c *call, q verifyQuery) (manage.AuditCheck, error) {
			return c.manager.VerifyAudit(c.ctx, q.Head)
		}),
		get("forecast", "listEndingKeys", "Lists the keys that end soon, the first one first, with what hangs on them.", func(c *call, q manage.ForecastQuery) (manage.List[manage.EndingKey], error) {
			paged(&q.Page)
			return c.manager.Forecast(c.ctx, q)
		}),
		get("usage", "listUsage", "Lists sums of usage: by hour, day, key, operation or reason, or one sum of all.", usage),
		get("usage/keys", "listKeyUsage", "Lists the usage of each key, in the order of account IDs and key IDs.", func(c *call, q manage.KeyUsageQuery) (manage.List[manage.Usage], error) {
			paged(&q.Page)
			return c.manager.KeyUsage(c.ctx, q)
		}),
		change(http.MethodPost, "explain", "explain", "Says what the gates of this server would decide on a request, and why. It sends nothing, and changes nothing.", func(c *call, b explainBody) (*manage.Explanation, error) {
			r := b.ExplainRequest
			r.Key = policy.NewSecret(b.Key)
			if r.Dialect == "" {
				r.Dialect = dialect.AmiVoice.Name
			}
			if r.KeyID != "" && b.Key != "" {
				return nil, inField("key", errTwoKeys)
			}
			return c.manager.Explain(c.ctx, r)
		}).needs("client_ip", "method", "path"),
	}
}

func serverRoutes() []*route {
	list := get("streams", "listStreams", "Lists the live streams, oldest first.", func(c *call, _ none) ([]StreamInfo, error) {
		return describe(c.admin.streams.List()), nil
	})
	cut := change(http.MethodPost, "streams/cut", "cutStreams", "Cuts one live stream, or those of a key or an account.", cutStreams)
	cut.anyType = true
	whoami := get("whoami", "whoami", "Says as whom and from where the server sees the caller, and which client address its sites take from a request.", seen)
	health := get("health", "health", "Says whether the keystore can be read and is the right one. If not, the status is 503.", health)
	document := get("openapi.json", "getOpenAPI", "Returns this document.", func(*call, none) (Document, error) { return document(), nil })
	all := append([]*route{list, cut, whoami, health, document}, canaryRoutes()...)
	for _, r := range all {
		r.noStore = true // or it looks for the keystore itself
	}
	return all
}

// usage returns the sums of usage. There is no next part: only keys can be many, and their limit
// selects those with the most requests. The path usage/keys lists all keys.
func usage(c *call, q usageQuery) (manage.List[manage.Usage], error) {
	asked := manage.UsageQuery{AccountID: q.AccountID, KeyID: q.KeyID, Since: q.Since, By: q.By, Limit: q.Limit}
	if q.By == "key" && q.Limit == 0 {
		asked.Limit = defaultLimit
	}
	list := manage.List[manage.Usage]{Items: []manage.Usage{}}
	err := c.manager.Usage(c.ctx, asked, func(u *manage.Usage) error {
		list.Items = append(list.Items, *u)
		return nil
	})
	return list, err
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// paged sets the default of a page's limit.
func paged(p *manage.Page) {
	if p.Limit == 0 {
		p.Limit = defaultLimit
	}
}
