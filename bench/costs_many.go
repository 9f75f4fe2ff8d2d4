//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// many measures many gateways that are open at the same time: idle, while keys change, while they count
// together, and under all kinds of load, which the sum of the costs must explain.
func (c *costs) many() (err error) {
	var stores []*keystore.Store
	defer func() {
		errs := make([]error, len(stores))
		_ = each(16, len(stores), func(i int) error { errs[i] = stores[i].Close(); return nil })
		err = errors.Join(errors.Join(errs...), err)
	}()
	for i := range c.stores {
		c.progress("opening gateway %d of %d", i+1, c.stores)
		store, err := c.open()
		if err != nil {
			return err
		}
		stores = append(stores, store)
	}
	name := fmt.Sprintf("%d gateways", len(stores))
	seconds := int(costIdle.Seconds()) * len(stores)
	idle := func() (int, error) { return seconds, c.wait(costIdle) }
	if err := c.findIdle(); err != nil {
		return err
	}
	if _, err := c.cost(name+", the work of each hour", "gateway", func() (int, error) { return len(stores), c.wait(costHourly) }); err != nil {
		return err
	}
	c.idle = serverUse{}
	if _, err := c.cost(name+", idle, that do not count together", "gateway-second", idle); err != nil {
		return err
	}
	sources := make([]*counting, len(stores))
	for i, store := range stores {
		sources[i] = new(counting)
		exchange := share.NewExchange(now)
		defer exchange.Add(share.Requests, sources[i])()
		defer exchange.Share(reports{store}, zap.NewNop())()
	}
	if err := c.wait(costSettle); err != nil {
		return err
	}
	if _, err := c.cost(name+", idle", "gateway-second", idle); err != nil {
		return err
	}
	n, each, err := c.meter.connections(c.ctx)
	if err != nil {
		return err
	}
	c.rows = append(c.rows,
		row{Case: name + ", idle", Measure: "connections", Unit: "for each gateway", Gate: float64(n) / float64(len(stores)), Pairs: 1},
		row{Case: name + ", idle", Measure: "memory of a connection at the server", Unit: "KiB", Gate: each, Pairs: 1})
	if err := c.findIdle(); err != nil {
		return err
	}
	if _, err := c.cost(name+", a change", "change and gateway", func() (int, error) { return costChanges * len(stores), c.change(stores[0]) }); err != nil {
		return err
	}
	if err := c.sum(name, stores); err != nil {
		return err
	}
	for _, s := range sources {
		s.counts.Store(true)
	}
	if err := c.wait(costSettle); err != nil {
		return err
	}
	_, err = c.cost(fmt.Sprintf("%s, %d limited keys in use at each: counting together", name, costSubject), "gateway-second", idle)
	return err
}

// sum compares the sum of the costs with what the server needs, when each gateway looks up keys, records a job
// a second, and counts the usage of costUsed keys, which are the same at all gateways. At the end the usage is added up.
func (c *costs) sum(name string, stores []*keystore.Store) error {
	records, err := c.records(costUsed)
	if err != nil {
		return err
	}
	seconds := int(costIdle.Seconds())
	measured, err := c.cost(name+", each with a load", "gateway-second", func() (int, error) {
		err := together(len(stores), func(i int) error {
			store := stores[i]
			for range seconds {
				begun := time.Now()
				for range costMisses {
					if err := c.findNothing(store); err != nil {
						return err
					}
				}
				if err := c.createJob(store); err != nil {
					return err
				}
				c.countUsage(store, records)
				if err := c.wait(time.Second - time.Since(begun)); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			err = c.addUp(stores[0])
		}
		return seconds * len(stores), err
	})
	if err != nil {
		return err
	}
	predicted := costMisses*c.miss + c.create + c.used/costUsage.Seconds() + costUsed*c.fold/float64(seconds*len(stores))
	c.rows = append(c.rows, row{
		Case: name + ", each with a load", Measure: "the sum of the costs", Unit: "µs for each gateway-second", Plain: predicted, Gate: measured,
		Ratio: measured / predicted, Low: measured / predicted, High: measured / predicted, Pairs: 1,
	})
	return nil
}

// change suspends and resumes a key, again and again.
func (c *costs) change(store *keystore.Store) error {
	for i := range costChanges {
		var err error
		if i%2 == 0 {
			_, err = store.SuspendKey(c.ctx, now(), operator, c.job.KeyID, "")
		} else {
			_, err = store.ResumeKey(c.ctx, now(), operator, c.job.KeyID)
		}
		if err == nil {
			err = c.wait(costPause)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// counting is a [share.Source] whose subjects always change, or never.
type counting struct{ counts atomic.Bool }

// Share implements [share.Source]. A turn asks for changes anyway.
func (*counting) Share(func()) {}

// Changes implements [share.Source].
func (c *counting) Changes(bool) []share.Change {
	if !c.counts.Load() {
		return nil
	}
	all := make([]share.Change, costSubject)
	for i := range all {
		all[i] = share.Change{ID: fmt.Sprintf("key_%020d", i), Now: 1, Past: []share.Past{{At: now(), N: 1}}}
	}
	return all
}

// Add implements [share.Source].
func (*counting) Add(policy.Time, share.Change) {}

// reports is the [share.Transport] of a store.
type reports struct{ store *keystore.Store }

// Send implements [share.Transport].
func (r reports) Send(ctx context.Context, gateway string, number int64, body []byte) error {
	return r.store.SendReport(ctx, gateway, number, body)
}

// Receive implements [share.Transport].
func (r reports) Receive(ctx context.Context, gateway string, span time.Duration, seen map[string]int64) ([]share.Report, error) {
	received, err := r.store.ReceiveReports(ctx, gateway, span, seen)
	if err != nil {
		return nil, err
	}
	all := make([]share.Report, len(received))
	for i, one := range received {
		all[i] = share.Report(one)
	}
	return all, nil
}

// Name implements [share.Transport].
func (r reports) Name(text string) string { return r.store.ReportName(text) }
