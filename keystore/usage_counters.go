package keystore

import (
	"hash/maphash"
	"runtime"
	"sync"
	"time"

	"github.com/speechgate/speechgate/policy"
)

const (
	usageShards = 64      // locks
	maxCells    = 1 << 17 // counters in memory, of all shards; further keys are not counted
)

// usageCounters are the counters of usage in memory. They have no pointers, so that the
// garbage collector does not read them: with many keys in use it would read them several times
// a second.
type usageCounters struct {
	shards [usageShards]usageShard
}

// usageShard has the counters of some of the keys.
type usageShard struct {
	mu sync.Mutex
	usageTable
	_ [64]byte // no cache line has parts of two shards
}

// usageTable finds a counter by the hash of what it belongs to. Two that have the same hash
// use hashes that follow each other.
type usageTable struct {
	index map[uint64]uint32 // places in cells
	cells []usageCell
	names []byte
}

// usageCell is a counter. The key's ID, the account's ID and the name of the backend follow
// each other in the names of the table.
type usageCell struct {
	UsageCounts

	hour                                  int64 // since 1970
	names, keyLen, accountLen, backendLen uint32
	operation                             policy.Operation
	reason                                policy.Reason
	rests                                 uint8 // writes that have left less than a millisecond only
}

var usageSeed = maphash.MakeSeed()

// shardOf returns the shard of what is counted, and the hash in it. All counters of a key are in
// one shard.
func (c *usageCounters) shardOf(hour int64, of *UsageOf) (shard *usageShard, hash uint64) {
	owner := of.KeyID
	if owner == "" {
		owner = of.AccountID
	}
	const odd = 0x9E3779B97F4A7C15
	hash = maphash.String(usageSeed, owner)
	return &c.shards[hash%usageShards], hash ^ (uint64(hour)<<16|uint64(of.Operation)<<8|uint64(of.Reason))*odd
}

// add adds counts to the counter of an hour. It returns false if there is no space for one
// more counter.
func (c *usageCounters) add(hour int64, of *UsageOf, counts UsageCounts, rests uint8) bool {
	shard, hash := c.shardOf(hour, of)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	cell := shard.find(hash, hour, of)
	if cell == nil {
		return false
	}
	cell.add(counts)
	cell.rests = rests
	return true
}

// pendingAudio returns the audio of a key, or of all keys of an account if there is no KeyID,
// that was counted and is not written yet: from the hour since on, and in all.
func (c *usageCounters) pendingAudio(of policy.Identity, since int64) (recent, all time.Duration) {
	if of.KeyID != "" {
		shard, _ := c.shardOf(0, &UsageOf{KeyID: of.KeyID})
		return shard.pendingAudio(of, since)
	}
	for i := range c.shards {
		ofShard, allOfShard := c.shards[i].pendingAudio(of, since)
		recent, all = recent+ofShard, all+allOfShard
	}
	return recent, all
}

func (s *usageShard) pendingAudio(of policy.Identity, since int64) (recent, all time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.cells {
		cell := &s.cells[i]
		if cell.AudioTime == 0 {
			continue
		}
		if key, account, _ := s.namesOf(cell); string(account) != of.AccountID || of.KeyID != "" && string(key) != of.KeyID {
			continue
		}
		all += cell.AudioTime
		if cell.hour >= since {
			recent += cell.AudioTime
		}
	}
	return recent, all
}

// find returns the counter, a new one if necessary; nil if there is no space.
func (t *usageTable) find(hash uint64, hour int64, of *UsageOf) *usageCell {
	for {
		at, found := t.index[hash]
		if !found {
			break
		}
		if cell := &t.cells[at]; t.belongs(cell, hour, of) {
			return cell
		}
		hash++
	}
	if len(t.cells) >= maxCells/usageShards {
		return nil
	}
	if t.index == nil {
		t.index = make(map[uint64]uint32)
	}
	t.index[hash] = uint32(len(t.cells))
	t.cells = append(t.cells, usageCell{
		hour: hour, names: uint32(len(t.names)), keyLen: uint32(len(of.KeyID)), accountLen: uint32(len(of.AccountID)), backendLen: uint32(len(of.Backend)),
		operation: of.Operation, reason: of.Reason,
	})
	t.names = append(append(append(t.names, of.KeyID...), of.AccountID...), of.Backend...)
	return &t.cells[len(t.cells)-1]
}

// namesOf returns the names of a counter.
func (t *usageTable) namesOf(c *usageCell) (key, account, backend []byte) {
	rest := t.names[c.names:]
	key, rest = rest[:c.keyLen], rest[c.keyLen:]
	account, rest = rest[:c.accountLen], rest[c.accountLen:]
	return key, account, rest[:c.backendLen]
}

func (t *usageTable) belongs(c *usageCell, hour int64, of *UsageOf) bool {
	if c.hour != hour || c.operation != of.Operation || c.reason != of.Reason {
		return false
	}
	key, account, backend := t.namesOf(c)
	return string(key) == of.KeyID && string(account) == of.AccountID && string(backend) == of.Backend
}

// takenUsage is what a counter had when it was taken.
type takenUsage struct {
	UsageCounts

	of   UsageOf
	hour int64
}

// take takes the counts out of all counters. What is less than a millisecond stays, for some
// writes. Between the shards it lets requests run, which may have only one processor.
func (c *usageCounters) take() (taken []takenUsage) {
	for i := range c.shards {
		full := c.shards[i].swap()
		names := string(full.names)
		for j := range full.cells {
			cell := &full.cells[j]
			key := names[cell.names:]
			account := key[cell.keyLen:]
			backend := account[cell.accountLen:]
			of := UsageOf{key[:cell.keyLen], account[:cell.accountLen], backend[:cell.backendLen], cell.operation, cell.reason}
			whole, rest := cell.toMillisecond()
			if whole != (UsageCounts{}) {
				taken = append(taken, takenUsage{whole, of, cell.hour})
				cell.rests = 0
			}
			if rest != (UsageCounts{}) && cell.rests < maxRests {
				c.add(cell.hour, &of, rest, cell.rests+1)
			}
		}
		runtime.Gosched()
	}
	return taken
}

// swap returns the table, and begins with a new one for about as many counters.
func (s *usageShard) swap() (full usageTable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full, s.usageTable = s.usageTable, usageTable{}
	if n := len(full.cells); n > 0 {
		s.usageTable = usageTable{make(map[uint64]uint32, n), make([]usageCell, 0, n), make([]byte, 0, len(full.names))}
	}
	return full
}
