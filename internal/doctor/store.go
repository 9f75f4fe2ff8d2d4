package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/keystore"
)

// lowDisk is the free space of a disk under which checkDisk warns: some days of a busy server.
const lowDisk = 256 << 20

// checkStore makes the checks of the keystore. They open the keystore only if this does not upgrade it.
func (e *examination) checkStore(ctx context.Context) {
	e.checkKeystore(ctx)
	e.checkReplica(ctx)
	if !e.has(CheckOldKeys) {
		e.checkOldKeys(ctx, nil)
	}
}

// reason returns an error of the keystore as a sentence, without the place: the subject of the finding names it.
func (e *examination) reason(err error) string {
	return sentence(strings.TrimPrefix(err.Error(), keystore.ErrUnavailable.Error()+": keystore "+e.place+": "))
}

func (e *examination) checkKeystore(ctx context.Context) {
	if e.StoreError != nil {
		e.add(CheckKeystore, Fail, e.place, e.reason(e.StoreError), "")
		return
	}
	lacking, ok := e.checkDatabase(ctx)
	if !ok {
		return
	}
	c, err := keystore.Inspect(ctx, e.Store)
	switch {
	case errors.Is(err, keystore.ErrNoStore):
		e.checkMissing()
		return
	case err != nil && c.Newest == 0:
		// CheckAccess comes before everything else that Inspect does.
		e.add(CheckPermissions, Fail, e.place, e.reason(err), "")
		return
	case err != nil:
		e.add(CheckKeystore, Fail, e.place, e.reason(err), "")
		return
	}
	e.checkTombstone(c.ID)
	if e.Store.Postgres == nil {
		e.checkFile(c)
	} else {
		e.checkRights(lacking)
	}
	if e.checkMigrations(c) {
		e.checkOpening(ctx)
	}
}

// checkFile checks the file of an SQLite keystore, and its disk.
func (e *examination) checkFile(c keystore.Condition) {
	for _, name := range c.Readable {
		e.add(CheckPermissions, Warn, name, "Users other than the owner can read the file, which holds accounts, addresses and digests of keys.", "chmod 600 "+name)
	}
	e.passUnlessFound(CheckPermissions, "Only the owner of the keystore can read and write it.")
	e.checkDisk(c)
}

// checkMissing reports that there is no keystore. Without a keystore before, a server makes one.
func (e *examination) checkMissing() {
	if e.before == nil && !e.Store.MustExist {
		e.add(CheckKeystore, Warn, e.place, "There is no keystore. A server makes an empty one when it starts, and no key is known to it.",
			fmt.Sprintf("Make it with %q and issue keys, or %s.", app.Program+" init", app.Remedy(&e.Store)))
		return
	}
	message := "There is no keystore, and the server does not start without one."
	if e.before != nil {
		message = "There is no keystore, and the server does not start: it had one before, " + e.before.String() + "."
		e.add(CheckTombstone, Fail, e.place, message, fmt.Sprintf("%s If a new, empty keystore is meant, make it with %q.", sentence(app.Remedy(&e.Store)), app.Program+" init"))
		return
	}
	e.add(CheckKeystore, Fail, e.place, message, fmt.Sprintf("%s If a new, empty keystore is meant, make it with %q.", sentence(app.Remedy(&e.Store)), app.Program+" init"))
}

// checkTombstone compares the keystore with the one that the server had before.
func (e *examination) checkTombstone(id string) {
	switch {
	case !e.loaded:
		e.add(CheckTombstone, Skip, "", "The configuration cannot be loaded, so it does not say which keystore this server had before.", "")
	case e.before == nil:
		e.add(CheckTombstone, Pass, "", "Caddy's storage knows of no keystore that this server had before.", "")
	case e.before.StoreID == id:
		e.add(CheckTombstone, Pass, "", "The keystore is the one that this server had before.", "")
	default:
		e.add(CheckTombstone, Warn, e.place, "This is another keystore than this server had before, "+e.before.String()+". The keys of that one are not known here.",
			"Correct the option keystore, or restore a backup of that keystore. If the new one is meant, start the server: it then expects this one.")
	}
}

func (e *examination) checkDisk(c keystore.Condition) {
	const remedy = "Free some space, or move the keystore to a larger disk."
	switch free := float64(c.Free) / (1 << 20); {
	case c.Free < 0:
		e.add(CheckDisk, Skip, "", "This system does not tell the free space of a disk.", "")
	case c.Free < c.Kept:
		e.add(CheckDisk, Fail, e.place, fmt.Sprintf("The disk of the keystore has %.0f MiB left: jobs and keys are refused, and only revocations are written.", free), remedy)
	case c.Free < lowDisk:
		e.add(CheckDisk, Warn, e.place, fmt.Sprintf("The disk of the keystore has %.0f MiB left. Under %d MiB, jobs and keys are refused.", free, c.Kept>>20), remedy)
	default:
		e.add(CheckDisk, Pass, "", fmt.Sprintf("The disk of the keystore has %.0f MiB left.", free), "")
	}
}

// checkMigrations returns true if this program works with the schema as it is.
func (e *examination) checkMigrations(c keystore.Condition) bool {
	switch {
	case c.Schema > c.Newest && c.Usable:
		e.add(CheckMigrations, Warn, e.place, fmt.Sprintf("The schema of the keystore is version %d, newer than this program, which knows versions up to %d, and works with it.", c.Schema, c.Newest),
			"Upgrade this program. Make backups, copies and restores with the newer program.")
	case c.Schema > c.Newest:
		e.add(CheckMigrations, Fail, e.place, fmt.Sprintf("The schema of the keystore is version %d, and this program knows versions up to %d.", c.Schema, c.Newest),
			"Run the newer program, or restore a backup from before it.")
	case c.Schema < c.Newest:
		e.add(CheckMigrations, Warn, e.place, fmt.Sprintf("The next start of a server upgrades the schema of the keystore from version %d to %d. Programs that do not know version %d then refuse it.", c.Schema, c.Newest, c.Compatible),
			"Take a backup with the older program first.")
	default:
		e.add(CheckMigrations, Pass, "", fmt.Sprintf("The schema of the keystore is version %d, the newest one.", c.Schema), "")
	}
	return c.Schema >= c.Newest && c.Usable
}

// checkOpening opens the keystore as a command does, and compares the clock.
func (e *examination) checkOpening(ctx context.Context) {
	cfg := e.Store
	cfg.CommandLine, cfg.MustExist, cfg.KeepPepper = true, true, true
	store, err := keystore.Open(ctx, cfg)
	switch {
	case errors.Is(err, keystore.ErrNewPepper):
		e.add(CheckKeystore, Warn, e.place, "The keystore has no pepper, and the configuration has one: the next start of a server adds it, for good.",
			"Take a backup first, and keep the pepper in a second place.")
		return
	case err != nil:
		e.add(CheckKeystore, Fail, e.place, e.reason(err), "")
		return
	}
	e.add(CheckKeystore, Pass, e.place, "The keystore can be opened.", "")
	if e.Store.Postgres != nil && e.Store.Postgres.Replica != "" {
		if sum, err := store.Summary(ctx); err == nil {
			e.stored = &sum
		}
	}
	if behind := store.Behind(); behind > 0 {
		e.add(CheckClock, Fail, "keystore", fmt.Sprintf("The clock of this machine is %s behind the newest time in the keystore: keys that were issued since count as unknown.", behind.Round(time.Second)), "Set the clock.")
	} else {
		e.add(CheckClock, Pass, "keystore", "The clock of this machine is not behind the newest time in the keystore.", "")
	}
	e.checkOldKeys(ctx, store)
	if err := store.Close(); err != nil { //nolint:contextcheck // closing must not be stopped
		e.add(CheckKeystore, Fail, e.place, e.reason(err), "")
	}
}
