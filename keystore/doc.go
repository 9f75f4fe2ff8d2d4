// Package keystore keeps accounts, keys, jobs and the audit trail in SQLite,
// and finds keys and jobs fast enough to stand in every request's way.
//
// # Reading
//
// [Store.FindKey] and [Store.FindJob] answer from a cache of records (never of
// verdicts), filed under the digest of the whole secret or job name. Every
// mutation appends to a change feed in its own transaction. A process drops
// what it changed before the call that changed it returns; what another
// process changed, it drops within 250 milliseconds, and a lookup that was
// under way at that moment reads again. If the feed cannot be read for
// [Config.MaxStaleness], lookups go to the database, and fail if that does.
//
// Records are kept packed, some 220 bytes for a key with all that it takes to find
// it, and as many as fit into [Config.CacheBytes].
//
// A database file that is replaced or removed underneath a running store is
// noticed as fast. A valid one is opened in place; until there is one, every
// call fails. Replace the file by renaming one complete file over it: bytes that
// are copied into the open file damage it, and once that is noticed, which takes
// a second or two, every call fails until another file is renamed over it.
//
// # Writing
//
// One goroutine writes. It takes what is queued into one transaction, so that
// many requests share one fsync; each write stands or falls alone. For writes that
// [Store.Expect] has announced it waits up to 2 ms; where three transactions in a
// row have waited in vain, sixteen do not, and after these one is enough for as
// many more. When a call returns without error, its effect survives the loss of
// power.
//
// Last uses of keys alone need not be durable. They have a connection of their own,
// whose commits sync nothing but for a checkpoint.
//
// # Opening
//
// [Open] makes a store where there is none, unless [Config.MustExist] forbids it.
// It refuses a file that other users can write, or whose directory they can
// write. A server writes a row before it serves, because SQLite reports a
// read-only file or a full disk only then. The log has one line for each opening,
// with the store's ID and the number of its accounts and keys.
//
// # Secrets
//
// Of a secret only SHA-256 is kept or, with a pepper, HMAC-SHA-256(pepper,
// SHA-256). The secrets made here are random, of 190 bits, so a slow hash would
// add nothing. Imported keys and service passwords may be weaker: against who
// steals the file, the pepper guards them. A pepper can be given to a store that
// has none, which is irreversible and ends the service of processes that do not
// have it. [Config.PepperFault] keeps a pepper that is a mistake from being given.
//
// # Audit trail
//
// Each entry has a hash made of the entry and the hash before it, keyed by the
// pepper if there is one. [Store.VerifyAudit] finds the first entry that was
// changed or removed, and what was cut off at the end if it is given a head that
// was noted elsewhere. Whoever can write the file, and has the pepper, can write
// the trail anew; only a head kept elsewhere shows that.
//
// # Backup
//
// [Store.Backup] copies one state of the store into a file that stands alone.
// [Store.Restore] merges such a file into the store, so that nothing comes back
// which ended since; running servers follow by the change feed. [RestoreNew]
// puts it where there is no store, and knows nothing of what ended since.
//
// # Retention
//
//   - keys: Config.Retention after they expired, were deleted or revoked, or
//     their account closed, and not before the last of their jobs. Their
//     digests are kept so that no such key comes back: for ever, and those of
//     keys from the issuance API, which are many, for 400 days more.
//   - jobs: Config.Retention, 8 days, or what KeepJobs says and a day, whichever
//     is longest, after their creation.
//   - audit trail: 400 days. Change feed: 1 hour. Accounts: for ever.
package keystore
