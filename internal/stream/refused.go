package stream

import (
	"bytes"

	"github.com/gobwas/ws"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// watches reports whether a text of the backend's may say that the key which the
// guard has put in is refused. Where clients' own keys pass, such an answer is
// about the client's key.
func (g *Guard) watches() bool {
	return g.cfg.Upstream.Mode != credential.Pass && g.asked.Load()
}

// keyRefused reports whether an answer says that the key is refused.
func (g *Guard) keyRefused(answer []byte) bool {
	rules := g.cfg.Rules
	if _, message := answers(answer, rules.Started); !message {
		return false
	}
	answer = bytes.ToLower(answer[len(rules.Started):])
	for _, word := range rules.KeyRefused {
		if bytes.Contains(answer, []byte(word)) {
			return true
		}
	}
	return false
}

// upstreamRefused is the frame that the client gets in place of such an answer:
// the client's own key is good.
func (g *Guard) upstreamRefused() []byte {
	if g.cfg.UpstreamRefused != nil {
		g.cfg.UpstreamRefused()
	}
	return finalFrame(ws.OpText, []byte(g.cfg.Rules.Refusal(policy.UpstreamRefused)))
}
