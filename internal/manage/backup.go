package manage

import (
	"context"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Backup is a backup in a result.
type Backup struct {
	File      string `json:"file"` // its whole path
	Bytes     int64  `json:"bytes"`
	Keys      int    `json:"keys"`
	Accounts  int    `json:"accounts"`
	Jobs      int    `json:"jobs"`
	AuditHead string `json:"audit_head"`
}

// Backup copies the keystore into a new file. It is for the operator only.
func (m *Manager) Backup(ctx context.Context, file string) (Backup, error) {
	if err := m.operatorOnly(); err != nil {
		return Backup{}, err
	}
	c, err := m.Store.Backup(ctx, file)
	return Backup{c.Path, c.Bytes, c.Keys, c.Accounts, c.Jobs, c.Head.String()}, err
}

// Restored says what a restore did.
type Restored struct {
	KeysRestored       int    `json:"keys_restored"`
	KeysRemoved        int    `json:"keys_removed"`
	KeysKeptEnded      int    `json:"keys_kept_ended"` // they ended since the backup
	AccountsRestored   int    `json:"accounts_restored"`
	AccountsRemoved    int    `json:"accounts_removed"`
	AccountsKeptClosed int    `json:"accounts_kept_closed"` // they were closed since the backup
	JobsRestored       int    `json:"jobs_restored"`
	JobsRemoved        int    `json:"jobs_removed"`
	Before             OrNull `json:"before"` // the file with a backup of the keystore before the restore
	DryRun             bool   `json:"dry_run"`
}

func restoredOf(r keystore.Restored) Restored {
	return Restored{
		KeysRestored: r.Keys.Restored, KeysRemoved: r.Keys.Removed, KeysKeptEnded: r.KeptEnded,
		AccountsRestored: r.Accounts.Restored, AccountsRemoved: r.Accounts.Removed, AccountsKeptClosed: r.KeptClosed,
		JobsRestored: r.Jobs.Restored, JobsRemoved: r.Jobs.Removed,
		Before: OrNull(r.Before),
	}
}

// Restore makes the keystore what it was at a backup, except that keys and accounts which
// have ended since the backup stay ended. It is for the operator only.
func (m *Manager) Restore(ctx context.Context, file string) (Restored, error) {
	if err := m.operatorOnly(); err != nil {
		return Restored{}, err
	}
	r, err := m.Store.Restore(ctx, m.Now, m.Actor, file)
	return restoredOf(r), err
}

// PlanRestore returns what [Manager.Restore] would do, and changes nothing. It is for the
// operator only.
func (m *Manager) PlanRestore(ctx context.Context, file string) (Restored, error) {
	if err := m.operatorOnly(); err != nil {
		return Restored{}, err
	}
	r, err := m.Store.PlanRestore(ctx, m.Now, m.Actor, file)
	return planned(r), err
}

func planned(r keystore.Restored) Restored {
	result := restoredOf(r)
	result.DryRun = true
	return result
}

// PlanRestoreNew returns what [RestoreNew] would do, and leaves no file behind.
func PlanRestoreNew(ctx context.Context, cfg keystore.Config, now policy.Time, by keystore.Actor, file string) (Restored, error) {
	r, err := keystore.PlanRestoreNew(ctx, cfg, now, by, file)
	return planned(r), err
}

// RestoreNew restores a backup to a path where there is no keystore. It needs no open
// keystore.
func RestoreNew(ctx context.Context, cfg keystore.Config, now policy.Time, by keystore.Actor, file string) (Restored, error) {
	r, err := keystore.RestoreNew(ctx, cfg, now, by, file)
	return restoredOf(r), err
}
