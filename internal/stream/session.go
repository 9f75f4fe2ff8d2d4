package stream

import "slices"

// The states of a connection's sessions, which follow one another.
const (
	idle     uint32 = iota // no session: the next command is a start command
	running                // a start command has gone on
	failed                 // the backend has said that audio failed; it may take a new start command
	ended                  // the end command has gone on, and is not answered yet
	settling               // a session is over, and OnEnd is being called
	over                   // the stream ends
)

// become moves from one of the states to another, and reports whether it was in one.
func (g *Guard) become(to uint32, from ...uint32) bool {
	for {
		state := g.session.Load()
		if !slices.Contains(from, state) {
			return false
		}
		next := to
		if to == idle {
			// Whoever sees that there is no session must find OnEnd called.
			next = settling
		}
		if !g.session.CompareAndSwap(state, next) {
			continue
		}
		if to == idle {
			g.onEnd()
			g.session.CompareAndSwap(settling, idle)
			g.wakeReader()
		}
		return true
	}
}

// endSessions leaves the states for good.
func (g *Guard) endSessions() {
	switch g.session.Swap(over) {
	case running, failed, ended:
		g.onEnd()
	}
}

func (g *Guard) onEnd() {
	if g.cfg.OnEnd != nil {
		g.cfg.OnEnd()
	}
}

// feeding reports whether audio goes on.
func (g *Guard) feeding() bool {
	state := g.session.Load()
	return state == running || state == failed
}

// answered takes in an answer of the backend's: its first bytes, one more than
// the longest of the words if it has so many.
func (g *Guard) answered(start []byte) {
	rules := g.cfg.Rules
	g.noteAnswer(start)
	if is, _ := answers(start, rules.Ended); is {
		_ = g.become(idle, running, failed, ended)
		return
	}
	if _, message := answers(start, rules.Started); message {
		// In the state ended, the answer to the end command is still to come.
		_ = g.become(idle, running, failed)
		return
	}
	if is, _ := answers(start, rules.Failed); is {
		_ = g.become(failed, running)
	}
}

// noteAnswer notes that the backend has answered a start command, if it has.
func (g *Guard) noteAnswer(start []byte) {
	if !g.asked.Load() {
		return
	}
	for _, word := range []string{g.cfg.Rules.Started, g.cfg.Rules.Ended} {
		if is, _ := answers(start, word); is {
			g.asked.Store(false)
		}
	}
}

// answers reports whether an answer has this word, and whether a message follows it.
func answers(start []byte, word string) (is, message bool) {
	if len(start) < len(word) || string(start[:len(word)]) != word {
		return false, false
	}
	message = len(start) > len(word) && start[len(word)] == ' '
	return message || len(start) == len(word), message
}
