package events

import (
	"hash/maphash"
	"sync"
)

// jobsRemembered is how many jobs are remembered, in some 2 MiB of memory.
const jobsRemembered = 1 << 16

// jobMemory remembers jobs by a hash, so that each is told once. If there are too many, it forgets
// the one that was told first. The zero value is ready for use.
type jobMemory struct {
	mu    sync.Mutex
	seed  maphash.Seed
	known map[uint64]struct{}
	order []uint64 // the known jobs, in a ring when it is full
	next  int      // the place of the next job in the ring
}

// first calls tell if the job is not known. It remembers the job if tell returns true.
func (m *jobMemory) first(backend, job string, tell func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.seed, m.known = maphash.MakeSeed(), make(map[uint64]struct{})
	}
	hash := maphash.Comparable(m.seed, [2]string{backend, job})
	if _, known := m.known[hash]; known || !tell() {
		return
	}
	m.known[hash] = struct{}{}
	if len(m.order) < jobsRemembered {
		m.order = append(m.order, hash)
		return
	}
	delete(m.known, m.order[m.next])
	m.order[m.next] = hash
	m.next = (m.next + 1) % jobsRemembered
}
