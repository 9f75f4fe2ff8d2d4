package credential

import (
	"math/bits"
	"sync"
)

// bufferPools keep the buffers of large heads for other heads. Without them, the garbage
// of heads that grow would take more memory than the heads.
type bufferPools [13]sync.Pool // by how often headChunk is doubled: up to 16 MiB, the largest max_head

var largeBuffers bufferPools

// pool returns the pool of buffers of this size, or nil if no pool has this size. The sizes are
// 2, 4, 8 … times headChunk.
func (p *bufferPools) pool(size int) *sync.Pool {
	class := bits.Len(uint(size)/headChunk) - 1
	if class < 1 || class >= len(p) || size != headChunk<<class {
		return nil
	}
	return &p[class]
}

// get returns an empty buffer of this capacity.
func (p *bufferPools) get(size int) []byte {
	if pool := p.pool(size); pool != nil {
		if buf, ok := pool.Get().(*[]byte); ok {
			return (*buf)[:0]
		}
	}
	return make([]byte, 0, size)
}

// put gives back a buffer, which must not be used any more.
func (p *bufferPools) put(buf []byte) {
	if pool := p.pool(cap(buf)); pool != nil {
		kept := buf // a copy that escapes to the heap, so that buf does not
		pool.Put(&kept)
	}
}
