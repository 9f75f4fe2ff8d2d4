package handler

import (
	"github.com/speechgate/speechgate/caddymodule/events"
	"github.com/speechgate/speechgate/policy"
)

// eventBounds limit how often the subscribers are told of refusals of one directive.
type eventBounds struct {
	refused  [1 << 5]events.Bound // by reason
	upstream events.Bound
	limits   map[string]*events.Bound // by limitOf
}

// tell puts the events of a decision into the queue. A refusal by a limit and a refusal of the
// upstream key are two events each.
func (d *DecisionRecord) tell() {
	queue, bounds := d.Counters.all.events, &d.Counters.bounds
	switch {
	case queue == nil:
	case d.Reason == policy.AllowedByGrace && d.JobID != "":
		e := d.event(events.JobOnGrace)
		e.JobID, e.Until = d.JobID, d.GraceUntil
		queue.OfferJobOnGrace(e)
	case !d.Reason.OK():
		queue.Offer(&bounds.refused[int(d.Reason)%len(bounds.refused)], d.event(events.Refused))
		if d.Reason == policy.UpstreamRefused {
			queue.Offer(&bounds.upstream, d.event(events.UpstreamRefused))
		}
		if met := limitOf(d.Operation, d.Reason, d.Limit); met != "" {
			e := d.event(events.LimitMet)
			e.Limit = met
			queue.Offer(bounds.limits[met], e)
		}
	}
}

func (d *DecisionRecord) event(name events.Name) events.Event {
	return events.Event{
		Name: name, Owner: d.Owner, Reason: d.Reason, Operation: d.Operation, Backend: d.Counters.backend, Client: d.Client,
	}
}
