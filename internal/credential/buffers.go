package credential

import (
	"math/bits"
	"sync"
)

// bufferPools keep the buffers that long heads have outgrown or left, for others. Without
// them the garbage of heads that grow would take more memory than the heads themselves.
type bufferPools [13]sync.Pool // by how often headChunk is doubled: up to 16 MiB, the largest max_head

var largeBuffers bufferPools

// of is the pool of a size, which is twice, four times … as much as headChunk; nil where
// there is none.
func (p *bufferPools) of(size int) *sync.Pool {
	class := bits.Len(uint(size)/headChunk) - 1
	if class < 1 || class >= len(p) || size != headChunk<<class {
		return nil
	}
	return &p[class]
}

// get returns an empty buffer of that capacity.
func (p *bufferPools) get(size int) []byte {
	if pool := p.of(size); pool != nil {
		if buf, ok := pool.Get().(*[]byte); ok {
			return (*buf)[:0]
		}
	}
	return make([]byte, 0, size)
}

// put gives a buffer back, which nobody may look at any more.
func (p *bufferPools) put(buf []byte) {
	if pool := p.of(cap(buf)); pool != nil {
		kept := buf // on the heap, as buf need not be
		pool.Put(&kept)
	}
}
