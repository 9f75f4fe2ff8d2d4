// Package events tells the subscribers of Caddy's events app what happens in the gateway. A request
// puts an event into a queue, and never waits for a subscriber: one goroutine calls the handlers.
package events
