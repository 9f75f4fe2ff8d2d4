package keystore

import "github.com/speechgate/speechgate/policy"

// The kinds of changes in the change feed.
const (
	changedKey        = "key"         // ref: the stored digest
	changedNewKeys    = "keys_new"    // any number of new keys; no ref
	changedAccount    = "account"     // ref: the account's ID
	changedNewAccount = "account_new" // ref: the account's ID; no cache can hold a record of it
	changedJob        = "job"         // ref: the job's digest
	changedJobs       = "jobs"        // any number of jobs; no ref
	changedToken      = "token"       // ref: the stored digest; a new token makes no change
	changedTokens     = "tokens"      // any number of tokens; no ref
	changedChildren   = "children"    // the keys that a key has issued; ref: the ID of that key
	changedStore      = "store"       // any record, or the pepper; no ref
)

// change is an entry of the change feed.
type change struct {
	at   policy.Time
	kind string
	ref  []byte
}

// apply drops the changed records from the caches, and notifies the watchers of the
// keys. For all changes of accounts and of child keys together, it goes through the
// cache of keys only once. Each pass through the cache makes all lookups of keys that
// are reading the database at that moment read it again. It returns what the replica noted.
func (s *Store) apply(changes []change) replicaNewsNote {
	noted := s.replica.note(changes)
	var accounts, issuers map[string]bool
	for _, c := range changes {
		switch {
		case c.kind == changedKey && len(c.ref) == len(digest{}):
			s.cache.keys.Drop(digest(c.ref))
			s.watchers.notifyKey(digest(c.ref))
		case c.kind == changedNewKeys:
			s.cache.keys.DropAbsences()
		case c.kind == changedJob && len(c.ref) == len(digest{}):
			s.cache.jobs.Drop(digest(c.ref))
		case c.kind == changedToken && len(c.ref) == len(digest{}):
			s.cache.tokens.Drop(digest(c.ref))
		case c.kind == changedTokens:
			s.cache.tokens.DropAll()
		case c.kind == changedAccount:
			accounts = add(accounts, string(c.ref))
		case c.kind == changedChildren:
			issuers = add(issuers, string(c.ref))
		case c.kind == changedJobs:
			s.cache.jobs.DropAll()
		case c.kind == changedNewAccount:
		default: // also a kind that a newer version has added
			s.dropAll()
		}
	}
	if len(accounts) > 0 || len(issuers) > 0 {
		s.dropKeys(func(r *Record) bool {
			_, account := r.IDs()
			return accounts[account] || issuers[r.issuerID()]
		})
	}
	return noted
}

// add adds an ID to a set, and makes the set if it is nil.
func add(set map[string]bool, id string) map[string]bool {
	if set == nil {
		set = make(map[string]bool)
	}
	set[id] = true
	return set
}

// dropKeys drops the records of keys that match, and notifies their watchers.
func (s *Store) dropKeys(match func(*Record) bool) {
	s.cache.keys.DropIf(func(lastUsed *policy.Time, packed string) bool { return match(&Record{*lastUsed, packed}) })
	s.watchers.notifyIf(match)
}

// dropAll drops all records, and notifies all watchers.
func (s *Store) dropAll() {
	s.replica.distrust()
	s.cache.keys.DropAll()
	s.cache.jobs.DropAll()
	s.cache.tokens.DropAll()
	s.watchers.notifyAll()
}
