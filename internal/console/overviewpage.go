package console

import (
	"slices"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
)

// fewRows is how many records the overview and the page of an account show of a list.
const fewRows = 5

// overview is the data of the operator's start page: what needs attention.
type overview struct {
	Done          string
	Second        bool               // the operator has a second factor, or the provider answers for it
	Fault         string             // why the server cannot decide on requests; empty if it can
	Ending        []manage.EndingKey // those that end first
	Suspended     []manage.Account
	MoreSuspended bool
	WithoutSecond []string // the other operators that have no second factor
	Streams       int
	Usage         manage.Usage // of the last 24 hours
	Refusals      []manage.Usage
}

func overviewPage(v *visit) error {
	ctx := v.r.Context()
	_, streams := v.settings.Gateway.Streams(0)
	o := &overview{Done: v.done(), Second: !v.user().SecondFactor.Empty() || v.user().Identity != (keystore.Identity{}), Streams: streams}
	if err := v.settings.Gateway.Ready(ctx); err != nil {
		o.Fault = err.Error()
	}
	ending, err := v.manager.Forecast(ctx, manage.ForecastQuery{Page: manage.Page{Limit: fewRows}})
	if err != nil {
		return err
	}
	o.Ending = ending.Items
	suspended, err := v.manager.Accounts(ctx, manage.AccountQuery{Page: manage.Page{Limit: fewRows}, Status: "suspended", NewestFirst: true})
	if err != nil {
		return err
	}
	o.Suspended, o.MoreSuspended = suspended.Items, suspended.Next != ""
	all, err := v.manager.Operators(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].Status == manage.StatusActive && !all[i].SecondFactor && all[i].Provider == nil && all[i].Name != v.user().ID {
			o.WithoutSecond = append(o.WithoutSecond, all[i].Name)
		}
	}
	if o.Usage, o.Refusals, err = v.usageSince("24h", ""); err != nil {
		return err
	}
	return v.show("operator", "Overview", o)
}

// usageSince returns the sum of the usage of an account, or of all accounts, and the refusals by
// their reason, the most frequent ones first.
func (v *visit) usageSince(since, accountID string) (sum manage.Usage, refusals []manage.Usage, err error) {
	q := manage.UsageQuery{AccountID: accountID, Since: since, By: "reason", Bounded: true}
	err = v.manager.Usage(v.r.Context(), q, func(u *manage.Usage) error {
		sum.Requests += u.Requests
		sum.Refused += u.Refused
		sum.AudioBytes += u.AudioBytes
		sum.AudioSeconds += u.AudioSeconds
		sum.StreamSeconds += u.StreamSeconds
		if u.Refused > 0 {
			refusals = append(refusals, *u)
		}
		return nil
	})
	slices.SortStableFunc(refusals, func(a, b manage.Usage) int { return int(b.Refused - a.Refused) })
	return sum, refusals[:min(fewRows, len(refusals))], err
}
