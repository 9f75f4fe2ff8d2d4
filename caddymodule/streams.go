package caddymodule

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"github.com/speechgate/speechgate/policy"
)

// streams are the live ones of this process. They outlive the configuration
// that let them in.
var streams = streamIndex{
	all:       make(map[string]*liveStream),
	byKey:     make(map[string]int),
	byAccount: make(map[string]int),
	waiting:   make(map[netip.Prefix]int),
}

// streamIndex knows the live streams, and counts them.
type streamIndex struct {
	mu        sync.Mutex
	last      uint64 // number that was given out
	all       map[string]*liveStream
	byKey     map[string]int       // streams of each key, by its ID
	byAccount map[string]int       // and of each account
	waiting   map[netip.Prefix]int // streams of each address that have shown no key yet
}

// begin takes a stream in, unless as many as may be wait for their first command
// from that address.
func (i *streamIndex) begin(s *liveStream, most int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.waiting[s.network()] >= most {
		return false
	}
	i.waiting[s.network()]++
	i.last++
	s.number = i.last
	i.all[s.id] = s
	return true
}

func (s *liveStream) network() netip.Prefix { return policy.NetworkOf(s.x.request.Client) }

// accept makes a stream the holder's, unless the key or its account has as
// many as it may; 0 is any number. It stays whose it was then.
func (i *streamIndex) accept(s *liveStream, next holder, perKey, perAccount int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.all[s.id] != s {
		return false // it has ended
	}
	if perKey > 0 && next.key != s.holder.key && i.byKey[next.key] >= perKey ||
		perAccount > 0 && next.account != s.holder.account && i.byAccount[next.account] >= perAccount {
		return false
	}
	i.release(s)
	s.holder, s.accepted = next, s.x.now
	i.byKey[next.key]++
	i.byAccount[next.account]++
	return true
}

// release takes a stream from whose it is.
func (i *streamIndex) release(s *liveStream) {
	if s.holder == (holder{}) {
		lower(i.waiting, s.network())
		return
	}
	lower(i.byKey, s.holder.key)
	lower(i.byAccount, s.holder.account)
}

func lower[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

func (i *streamIndex) end(s *liveStream) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.all[s.id] == s {
		delete(i.all, s.id)
		i.release(s)
	}
}

// streamInfo describes a live stream, for the admin API.
type streamInfo struct {
	ID         string  `json:"stream_id"`
	KeyID      *string `json:"key_id"`
	AccountID  *string `json:"account_id"`
	Backend    string  `json:"backend"`
	ClientIP   *string `json:"client_ip"`
	BegunAt    string  `json:"begun_at"`
	AcceptedAt *string `json:"accepted_at"`
}

// list describes the live streams, oldest first.
func (i *streamIndex) list() []streamInfo {
	all := i.find(func(*liveStream) bool { return true })
	slices.SortFunc(all, func(a, b *liveStream) int { return cmp.Compare(a.number, b.number) })
	i.mu.Lock()
	defer i.mu.Unlock()
	infos := make([]streamInfo, len(all))
	for n, s := range all {
		infos[n] = streamInfo{ID: s.id, Backend: s.x.gate.Backend, BegunAt: s.begun.String(), AcceptedAt: timeText(s.accepted)}
		if whose := s.holder; whose != (holder{}) {
			infos[n].KeyID, infos[n].AccountID = &whose.key, &whose.account
		}
		if s.x.request.Client.IsValid() {
			text := s.x.request.Client.String()
			infos[n].ClientIP = &text
		}
	}
	return infos
}

// find returns the streams that match, which is asked with the index locked.
func (i *streamIndex) find(match func(*liveStream) bool) (found []*liveStream) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range i.all {
		if match(s) {
			found = append(found, s)
		}
	}
	return found
}

// newStreamID names a stream, for people.
func newStreamID() string { return "str_" + newSessionID() }
