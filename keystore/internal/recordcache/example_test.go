package recordcache_test

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
)

// A lookup reads the generation before it reads the database. So it notices that a
// revocation changed the record meanwhile, and reads again.
func Example() {
	cache := recordcache.New[int64](1<<20, 1<<20)
	digest := recordcache.Digest(sha256.Sum256([]byte("the secret of key 7")))
	database := "valid"

	meanwhile := func() {
		database = "revoked"
		cache.Drop(digest)
	}
	for {
		generation := cache.Generation(digest)
		record := string(digest[:]) + database
		meanwhile()
		meanwhile = func() {}
		if cache.Put(digest, generation, 0, record) {
			break
		}
		fmt.Println("key 7 changed: read it again")
	}

	entry := cache.Get(digest)
	fmt.Println(entry.State == recordcache.Present, strings.TrimPrefix(entry.Record, string(digest[:])))
	// Output:
	// key 7 changed: read it again
	// true revoked
}
