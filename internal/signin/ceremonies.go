package signin

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	// ceremonyTime is how long a user may take to answer a challenge with a passkey.
	ceremonyTime = 5 * time.Minute
	// mostCeremonies is how many challenges of each kind may be open.
	mostCeremonies = 16_384
)

// ceremony is what the server remembers between a challenge and the answer to it.
type ceremony struct {
	site  Site
	data  webauthn.SessionData
	until policy.Time
	// owner is who may answer. It is the zero value for a sign-in, because the answer says who
	// the user is.
	owner owner
	// name is that of the passkey that is added.
	name string
}

// owner is a user in one session.
type owner struct {
	kind, id string
	session  [sha256.Size]byte // hash of the token
}

func ownerOf(user *keystore.ConsoleUser, session policy.Secret) owner {
	return owner{user.Kind, user.ID, sha256.Sum256([]byte(session.Reveal()))}
}

// ceremonies are the open challenges of one kind. Each can be answered once. If there are too
// many, the oldest one ends. It is safe for concurrent use.
type ceremonies struct {
	mu          sync.Mutex
	most        int
	byChallenge map[string]*list.Element
	order       *list.List // of *ceremony; the oldest is in front
}

func newCeremonies(most int) *ceremonies {
	return &ceremonies{most: most, byChallenge: make(map[string]*list.Element), order: list.New()}
}

// begin remembers a ceremony until its time is over.
func (c *ceremonies) begin(now policy.Time, begun *ceremony) {
	begun.until = now.Add(ceremonyTime)
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil && (c.order.Len() >= c.most || now >= ceremonyOf(e).until); e = c.order.Front() {
		c.remove(e)
	}
	c.byChallenge[begun.data.Challenge] = c.order.PushBack(begun)
}

// take returns the ceremony with this challenge and forgets it. It returns nil if the challenge
// is unknown, was answered, or is too old.
func (c *ceremonies) take(now policy.Time, challenge string) *ceremony {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byChallenge[challenge]
	if !ok {
		return nil
	}
	c.remove(e)
	if begun := ceremonyOf(e); now < begun.until {
		return begun
	}
	return nil
}

func (c *ceremonies) remove(e *list.Element) {
	delete(c.byChallenge, ceremonyOf(e).data.Challenge)
	c.order.Remove(e)
}

func ceremonyOf(e *list.Element) *ceremony {
	begun, _ := e.Value.(*ceremony) // the list has no other values
	return begun
}
