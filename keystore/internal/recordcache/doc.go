// Package recordcache keeps records in memory by their digest, within a bound of
// bytes, and never returns a record that a finished change has replaced.
//
// A record is a string that begins with its digest: the caller packs a key or a job
// into it. A [Cache] also remembers which digests have no record, so that a flood of
// requests with unknown keys does not reach the database.
//
// # The generation rule
//
// A lookup that misses reads the database and caches the result. Between the read and
// the caching another goroutine can change the record:
//
//	lookup                               revocation
//	1. misses the cache
//	2. reads "key 7 is valid"
//	                                     3. writes "key 7 is revoked", commits
//	                                     4. drops key 7 from the cache: nothing is there
//	                                     5. returns to the operator
//	6. caches "key 7 is valid"
//
// After step 6 every request with key 7 would be accepted, although the operator was
// told that the key is revoked. Generations prevent this. Each digest has a
// generation, a counter. A change increments it in step 4. A lookup reads it before
// step 2 and gives it back in step 6:
//
//	lookup                               revocation
//	1. misses; the generation is 41
//	2. reads "key 7 is valid"
//	                                     3. writes "key 7 is revoked", commits
//	                                     4. drops key 7: the generation is now 42
//	                                     5. returns to the operator
//	6. Put with generation 41 is refused
//	   and returns false
//	7. starts again: the generation is 42,
//	   reads "key 7 is revoked", caches it
//
// So a lookup must follow this order: [Cache.Generation], read, [Cache.Put] or
// [Cache.PutAbsent]. If the last call returns false, the lookup must not use its
// result either. A change must follow this order: commit, [Cache.Drop], return.
//
// A cache has 256 generations, one for each first byte of a digest. Digests with the same
// first byte share a generation. So a change also makes one in 256 of the other lookups
// that are reading at that moment read a second time.
//
// # Memory
//
// Records are stored end to end in large chunks, and the index over them has no
// pointers. The garbage collector therefore marks a few large objects instead of some
// hundred thousand small ones. A full cache evicts by the CLOCK algorithm, and a
// doorkeeper admits a new record only when it is requested for the second time, so
// that a scan over many keys, each used once, evicts nothing.
package recordcache
