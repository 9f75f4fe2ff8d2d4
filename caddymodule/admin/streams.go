package admin

import (
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// StreamInfo is the JSON of a live stream. Instants are in RFC 3339.
type StreamInfo struct {
	ID         string  `json:"stream_id"`
	KeyID      *string `json:"key_id"`      // nil before the first accepted start command
	AccountID  *string `json:"account_id"`  // nil before the first accepted start command
	Backend    string  `json:"backend"`     // backend name of the gate
	ClientIP   *string `json:"client_ip"`   // nil if it is unknown
	BegunAt    string  `json:"begun_at"`    // the instant of the handshake
	AcceptedAt *string `json:"accepted_at"` // when the last start command was accepted; nil before the first
}

func describe(all []livestream.Snapshot) []StreamInfo {
	infos := make([]StreamInfo, len(all))
	for i, s := range all {
		infos[i] = StreamInfo{ID: s.ID, Backend: s.Backend, BegunAt: s.Begun.String(), AcceptedAt: words.TimeText(s.Accepted)}
		if owner := s.Owner; owner != (policy.Identity{}) {
			infos[i].KeyID, infos[i].AccountID = &owner.KeyID, &owner.AccountID
		}
		if s.Client.IsValid() {
			text := s.Client.String()
			infos[i].ClientIP = &text
		}
	}
	return infos
}
