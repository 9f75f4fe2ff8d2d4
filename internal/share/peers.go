package share

import (
	"context"
	"time"
)

// peer is another gateway.
type peer struct {
	number int64         // of its last report
	heard  time.Duration // when this report was sent, on the clock mono
	now    map[subject]level
}

// subject is what is counted.
type subject struct {
	kind Kind
	id   string
}

// level is a number at a time that a peer has said.
type level struct {
	n     int
	heard time.Duration
}

// receive reads the new reports of the others, and adds what they say. It reports whether there
// was one.
func (x *Exchange) receive(ctx context.Context, over Transport) (received bool, err error) {
	begun := x.mono()
	span := Kept
	if x.began {
		span = min(begun-x.read+readAgain, Kept)
	}
	seen := make(map[string]int64, len(x.peers))
	for gateway, p := range x.peers {
		seen[gateway] = p.number
	}
	reports, err := over.Receive(ctx, x.gateway, span, seen)
	if err != nil {
		return false, err
	}
	x.began, x.read = true, begun
	for i := range reports {
		x.apply(&reports[i])
	}
	return len(reports) > 0, nil
}

// apply adds what a report says, if it is new. A report that cannot be read, such as one of a
// version with another form, says nothing.
func (x *Exchange) apply(r *Report) {
	p := x.peers[r.Gateway]
	switch {
	case r.Gateway == x.gateway:
		return
	case p == nil:
		p = &peer{now: make(map[subject]level)}
		x.peers[r.Gateway] = p
	case r.Number <= p.number:
		return
	}
	age := max(r.Age, 0)
	p.number, p.heard = r.Number, max(p.heard, x.mono()-age)
	now := x.clock()
	entries, _ := decode(r.Body, now.Add(-age)) // none, if there is an error
	for _, e := range entries {
		if len(x.sourcesOf(e.kind)) == 0 {
			continue
		}
		c := e.Change
		c.Now = 0
		if age < x.silence() {
			c.Now = p.set(subject{e.kind, e.ID}, level{e.Now, p.heard})
		}
		x.add(e.kind, c)
	}
}

// set notes a number at a time, and returns the difference to the number before.
func (p *peer) set(of subject, to level) (more int) {
	before := p.now[of].n
	if to.n == 0 {
		delete(p.now, of)
	} else {
		p.now[of] = to
	}
	return to.n - before
}

// add adds what another gateway has counted to the sources of a kind.
func (x *Exchange) add(kind Kind, c Change) {
	if c.Now == 0 && len(c.Past) == 0 {
		return
	}
	now := x.clock()
	for _, s := range x.sourcesOf(kind) {
		s.Add(now, c)
	}
}

func (x *Exchange) sourcesOf(kind Kind) []Source {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sources[kind]
}

// silence is after how long a number at a time counts no more if it is not said again.
func (x *Exchange) silence() time.Duration {
	return silenceLimit + 2*x.lockedTurnLength() - 2*shortTurn
}

// expire takes back the numbers at a time that were not said again, and forgets gateways whose
// reports are all gone.
func (x *Exchange) expire() {
	now := x.mono()
	for gateway, p := range x.peers {
		for of, l := range p.now {
			if now-l.heard >= x.silence() {
				x.add(of.kind, Change{ID: of.id, Now: p.set(of, level{})})
			}
		}
		if now-p.heard >= forgetPeer {
			delete(x.peers, gateway)
		}
	}
}

// forgetAll takes back all numbers at a time. The numbers of the reports stay known, so that no past
// counts twice if the process shares its counts again.
func (x *Exchange) forgetAll() {
	for _, p := range x.peers {
		for of := range p.now {
			x.add(of.kind, Change{ID: of.id, Now: p.set(of, level{})})
		}
	}
}
