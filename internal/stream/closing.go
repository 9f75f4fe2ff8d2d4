package stream

import "sync/atomic"

// closeState is how far the end of a stream has come. The package comment has the
// table of transitions, and says what each state is for.
type closeState uint32

const (
	stateOpen closeState = iota
	stateFinishing
	stateTelling
	stateDraining
	stateAnswering
	stateDismissing
	stateLeaving
	stateClosed
)

// closeEvent is an event that can move a stream to its next state.
type closeEvent uint8

const (
	eventStartClose closeEvent = iota // the guard, its caller or the client ends the stream
	eventClose                        // the proxy or the caller closes the connection
	eventBoundary                     // the backend's message has ended
	eventSent                         // the final message, or the Close frame, has been written
	eventSentClose                    // the final message and a Close frame have been written
	eventFailed                       // a write to the client has failed
	eventPeerClosed                   // the client has sent a Close frame
	eventPeerGone                     // the client has closed the connection
	eventTimeout                      // the time of the state is over
	eventOverdue                      // an action blocks for longer than any of its deadlines
)

// closeAction is what the closing goroutine does after a transition.
type closeAction uint8

const (
	actionNone closeAction = iota // the event changes nothing
	actionFinishMessage
	actionSendFinal
	actionDrain
	actionSendClose
	actionAwaitEnd
	actionClose
	actionAbort
)

// transition is a row of the table in the package comment.
type transition struct {
	state  closeState
	event  closeEvent
	next   closeState
	action closeAction
}

// transitions has the rows of the table in the package comment, except the row of
// eventOverdue.
var transitions = [...]transition{
	{stateOpen, eventStartClose, stateFinishing, actionFinishMessage},
	{stateOpen, eventClose, stateClosed, actionClose},
	{stateFinishing, eventBoundary, stateTelling, actionSendFinal},
	{stateFinishing, eventTimeout, stateClosed, actionAbort},
	{stateFinishing, eventFailed, stateClosed, actionAbort},
	{stateTelling, eventSent, stateDraining, actionDrain},
	{stateTelling, eventSentClose, stateLeaving, actionAwaitEnd},
	{stateTelling, eventFailed, stateClosed, actionAbort},
	{stateDraining, eventPeerClosed, stateAnswering, actionSendClose},
	{stateDraining, eventPeerGone, stateClosed, actionClose},
	{stateDraining, eventTimeout, stateDismissing, actionSendClose},
	{stateAnswering, eventSent, stateLeaving, actionAwaitEnd},
	{stateAnswering, eventFailed, stateClosed, actionClose},
	{stateDismissing, eventSent, stateClosed, actionClose},
	{stateDismissing, eventFailed, stateClosed, actionAbort},
	{stateLeaving, eventPeerGone, stateClosed, actionClose},
	{stateLeaving, eventTimeout, stateClosed, actionClose},
}

// next returns the state after an event, and the action. If the table has no row for the
// event, the state stays the same and the action is actionNone.
func next(state closeState, event closeEvent) (closeState, closeAction) {
	if event == eventOverdue && state != stateClosed {
		return stateClosed, actionAbort
	}
	for _, t := range transitions {
		if t.state == state && t.event == event {
			return t.next, t.action
		}
	}
	return state, actionNone
}

// closing is the state machine of one stream.
type closing struct{ state atomic.Uint32 }

// started reports whether the stream ends or has ended.
func (c *closing) started() bool { return closeState(c.state.Load()) != stateOpen }

// on handles an event: it moves to the next state, and returns what the caller has to do.
// Only one caller gets the action of a transition.
func (c *closing) on(event closeEvent) closeAction {
	for {
		state := closeState(c.state.Load())
		to, action := next(state, event)
		if action == actionNone || c.state.CompareAndSwap(uint32(state), uint32(to)) {
			return action
		}
	}
}
