package app

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/events"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/keystore"
)

const (
	newsEvery  = time.Second      // between two looks for keys that have ended, or end soon
	newsWithin = 30 * time.Second // how long one look may take
	eventsStop = 2 * time.Second  // how long a server that stops waits for the handlers of events
)

// expirySpans are how long before its end a key is told of.
var expirySpans = []keystore.ExpirySpan{
	{Name: "7d", After: 24 * time.Hour, Within: 7 * 24 * time.Hour},
	{Name: "1d", Within: 24 * time.Hour},
}

// subscribe gets Caddy's events app, and checks the names of its subscriptions. The app tells when
// all apps have started: only then are the subscriptions complete.
func (a *App) subscribe() error {
	loaded, err := a.ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	told := loaded.(*caddyevents.App) //nolint:forcetypeassert // events is the ID of Caddy's events app
	for _, subscription := range told.Subscriptions {
		for _, name := range subscription.Events {
			if err := events.CheckSubscription(name); err != nil {
				return err
			}
		}
	}
	return told.On("started", startedHandler{a, told})
}

// startedHandler starts the telling of events. Its fields are not exported, because Caddy logs a
// handler with all that is exported.
type startedHandler struct {
	app    *App
	events *caddyevents.App
}

// Handle implements [caddyevents.Handler].
func (h startedHandler) Handle(context.Context, caddy.Event) error {
	a := h.app
	a.emitter = &events.Emitter{
		Emit:   func(name string, data map[string]any) { h.events.Emit(a.ctx, name, data) },
		Wants:  h.events.ShouldEmit,
		Logger: a.logger.Named("events"),
	}
	a.process.events.Use(a.emitter)
	if a.process.events.Wants(events.KeyEnded) || a.process.events.Wants(events.KeyExpiring) {
		go a.followKeys(a.ctx) //nolint:contextcheck // the context of the configuration, and not of the event
	}
	return nil
}

// stopEvents tells the last events, if no other configuration has started.
func (a *App) stopEvents() {
	ctx, cancel := context.WithTimeout(context.Background(), eventsStop)
	defer cancel()
	a.process.events.Drop(ctx, a.emitter)
}

// followKeys tells of keys that have ended, or end soon, until the configuration is unloaded.
func (a *App) followKeys(ctx context.Context) {
	tick := time.NewTicker(newsEvery)
	defer tick.Stop()
	failed := new(handler.OnceAMinute)
	for {
		if err := a.tellKeys(ctx); err != nil && failed.Due(a.Now()) {
			a.logger.Error("keys that have ended, or end soon, cannot be told of; the server tries again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tellKeys puts the news of keys into the queue of events, and waits for room in it.
func (a *App) tellKeys(ctx context.Context) error {
	store, release := a.store.use()
	defer release()
	if store == nil {
		return nil
	}
	if a.process.events.Wants(events.KeyEnded) {
		err := a.tellNews(ctx, events.KeyEnded, "", func(ctx context.Context) (keystore.TakenNews, error) {
			return store.TakeEndedKeys(ctx, a.Now())
		})
		if err != nil {
			return err
		}
	}
	if !a.process.events.Wants(events.KeyExpiring) {
		return nil
	}
	for _, span := range expirySpans {
		err := a.tellNews(ctx, events.KeyExpiring, span.Name, func(ctx context.Context) (keystore.TakenNews, error) {
			return store.TakeExpiringKeys(ctx, a.Now(), span)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tellNews takes news from the keystore and tells them, until there are no more.
func (a *App) tellNews(ctx context.Context, name events.Name, within string, take func(context.Context) (keystore.TakenNews, error)) error {
	for ctx.Err() == nil {
		// The end of the configuration does not interrupt take, which would lose the news.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), newsWithin)
		news, err := take(limited)
		cancel()
		if err != nil {
			return err
		}
		for i, key := range news.Keys {
			e := events.Event{Name: name, At: key.Ends, Owner: key.Key, Reason: key.Reason, Within: within}
			if i == len(news.Keys)-1 {
				e.LeftOut = uint64(news.LeftOut)
			}
			a.process.events.Wait(ctx, e)
		}
		if !news.More {
			return nil
		}
	}
	return nil
}
