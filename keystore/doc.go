// Package keystore keeps accounts, keys, jobs, tokens of backends and the audit trail in a
// database. It finds keys, jobs and tokens fast enough to be asked for every request.
//
// # What a Store is made of
//
//	engine     opens the database (SQLite, behind the interface of internal/engine)
//	cache      records of keys, jobs and tokens (internal/recordcache)
//	commits    group commit: the one goroutine that writes
//	feed       polls the change feed, every 100 ms
//	uses       writes last-used times, every 5 s
//	usage      adds usage up in memory, and writes it every 4 s
//	watchers   callbacks of the callers that keep a record for long, such as streams
//	room       keeps disk space for revocations, every minute
//	clock      looks for leaps of the clock, every 100 ms
//
// A store that is opened for the command line has only the engine and the group commit.
//
// # Reading
//
// [Store.FindKey], [Store.FindJob] and [Store.FindToken] answer from a cache of records. The cache
// never holds decisions. The name of a record is a SHA-256 digest: of the whole
// secret of a key or token, or of backend and job ID. The cache keeps as many records as fit into
// [Config.CacheBytes]. Package internal/recordcache explains why no lookup caches a
// record that changed since it was read.
//
// Every change of a record adds an entry to a change feed, in the same transaction.
// A store drops the records that it changes before the call returns. A store that
// another process has changed reads the feed, and drops them within 250
// milliseconds. A lookup that was reading such a record reads it again. If the feed
// cannot be read for [Config.MaxStaleness], lookups go to the database, and fail if
// it cannot be read either.
//
// # Writing
//
// Group commit: one goroutine writes. It takes the writes in its queue into one
// transaction, so that they share one fsync. Each write succeeds or fails alone. When
// a call returns without error, its effect survives a loss of power.
//
// If a caller has announced a write with [Store.ReserveWrite], the writer waits up to
// 2 ms, so that the announced write shares the transaction of the writes that are
// ready. After three waits in a row that gained nothing, it commits the next sixteen
// batches without waiting. After those, one more such wait is enough for the next
// sixteen.
//
// Last-used times need not survive a loss of power. Their commits do not wait for the
// disk, except for a checkpoint.
//
// [Store.CountUsage] adds to counters in memory. Every 4 seconds they are added to the tables,
// in transactions of 128 counters. The last of them is durable, and with it the others: a
// crash or a loss of power loses the usage of 5 seconds at most. Each count is added for all
// requests, for the account and for the key, so that a sum reads few rows.
//
// # Opening
//
// [Open] creates a store if no file exists, unless [Config.MustExist] forbids it. It
// refuses a file or directory that other users can write. A server writes a row
// before it serves, because SQLite reports a read-only file or a full disk only then.
// The log has one line for each opening, with the store's ID and the number of its
// accounts and keys.
//
// A running store notices within 250 milliseconds that its file was removed or
// replaced. It opens a valid file that was put in its place; until there is one, every
// call fails. Replace the file by renaming one complete file over it. Do not copy
// bytes into the open file: they damage it. The store notices the damage within two
// seconds, and then every call fails until another file is renamed over it.
//
// # Secrets
//
// The store has no secrets, only digests of them: SHA-256 or, with a pepper,
// HMAC-SHA-256(pepper, SHA-256). Secrets that are generated here have 190 random bits,
// so a slow hash would add nothing. Imported keys and service passwords may be weaker:
// the pepper protects them if the file is stolen.
//
// A pepper can be added to a store that has none. This cannot be undone, and processes
// without the pepper can no longer use the store. [Config.PepperFault] keeps a
// mistaken pepper from being added.
//
// # Audit trail
//
// Each entry has a hash of the entry and of the hash before it, keyed by the pepper if
// there is one. [Store.VerifyAudit] finds the first entry that was changed or removed.
// It finds entries that were cut off at the end if it gets a head that was noted
// elsewhere. An attacker who can write the file and has the pepper can rewrite the whole
// trail. Only a head that was noted elsewhere shows this.
//
// # Backup
//
// [Store.Backup] copies one state of the store into a file that needs no other file.
// [Store.Restore] merges such a file into the store. A key or account that has ended
// since the backup does not come back. Running servers follow by the change feed.
// [RestoreNew] puts a backup where there is no store. Keys that have ended since the
// backup then come back, because nothing is known of their end.
//
// # Retention
//
//   - Keys: Config.Retention after they expired, were deleted or revoked, or their
//     account was closed, but at least as long as they have a job or an issued key.
//   - Digests of removed keys: without end, so that such a key never comes back. The
//     digests of the many keys from the issuance API: 400 days after the key.
//   - Jobs: the longest of Config.Retention, 8 days, and KeepJobs plus one day, after
//     their creation.
//   - Tokens: 1 hour after they expired, but no longer than their key. A restore brings none
//     back.
//   - Usage: by hour 7 days, then by day 400 days; the totals of accounts without end, those of
//     keys as long as the key.
//   - Audit trail: 400 days. Change feed: 1 hour. Accounts: without end.
package keystore
