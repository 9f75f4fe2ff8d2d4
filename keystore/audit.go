package keystore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/policy"
)

// The kinds of actors.
const (
	ActorOperator = "operator" // the person who runs the gateway
	ActorAccount  = "account"  // the holder of an account; the ID is the account's
	ActorKey      = "key"      // a key with the issuance right; the ID is the key's
	ActorStore    = "store"    // the keystore itself
)

// Actor says who makes a change. Each entry of the audit trail has its actor. An actor
// of kind ActorAccount can change only the keys of its own account: for a key of
// another account, the error is ErrNotFound.
type Actor struct {
	Kind string
	ID   string
	From netip.Addr // the client's address; the zero Addr for a command on this machine
	// Request identifies the request of the actor, so that a repeated request makes nothing
	// twice: CreateAccount, IssueKey, RotateAccount and RotateKey then return a
	// [RepeatedError]. It is not written to the audit trail. Default: no request is a
	// repetition.
	Request string
}

// AuditEntry is a line of the audit trail.
type AuditEntry struct {
	Seq       int64
	At        policy.Time
	Actor     Actor
	Action    string // such as "key_issue"
	AccountID string // empty if the action belongs to no account
	Subject   string // ID of the account or key that was changed, or as the action says
	Detail    string // for people
}

// The actions. A restore reads some of them.
const (
	actionAccountCreate = "account_create"
	actionAccountRotate = "account_rotate"
	actionAccountClose  = "account_close"

	actionAccountRename  = "account_rename"  // detail: the new name
	actionAccountSuspend = "account_suspend" // detail: the reason
	actionAccountResume  = "account_resume"
	actionAccountLimit   = "account_limit" // detail: the new limits, or noLimits
	actionKeyRename      = "key_rename"    // detail: the new label
	actionKeySuspend     = "key_suspend"   // detail: the reason
	actionKeyResume      = "key_resume"
	actionStreamCut      = "stream_cut" // subject: ID of a stream, a key or an account

	actionKeyIssue   = "key_issue"
	actionKeyImport  = "key_import"
	actionKeyRotate  = "key_rotate"
	actionKeyDelete  = "key_delete"
	actionKeyRevoke  = "key_revoke"
	actionTreeRevoke = "key_revoke_tree" // all keys that the key issued
	actionKeyPrune   = "key_prune"
	actionPepperAdd  = "pepper_add"

	actionConsoleInvite   = "console_invite" // subject: account ID or operator's name, as in the next ones
	actionConsoleSetup    = "console_setup"  // a password was set with the set-up link
	actionConsoleSignIn   = "console_sign_in"
	actionConsoleFailed   = "console_sign_in_failed"
	actionConsoleSignOut  = "console_sign_out"
	actionConsolePassword = "console_password"
	actionConsoleSecond   = "console_second_factor" // detail: what was done with it
	actionConsolePasskey  = "console_passkey"       // detail: what was done with which one
	actionConsoleRemove   = "console_remove"

	actionAuditChain   = "audit_chain"   // subject: number of the last entry that got its hash then
	actionAuditPrune   = "audit_prune"   // subject: the head of the last pruned entry
	actionStoreRestore = "store_restore" // subject: the head of the backup
)

// AuditActions returns the actions of the entries of the audit trail, in the order of the alphabet.
func AuditActions() []string {
	return []string{
		actionAccountClose, actionAccountCreate, actionAccountLimit, actionAccountRename, actionAccountResume, actionAccountRotate, actionAccountSuspend,
		actionAuditChain, actionAuditPrune,
		actionConsoleInvite, actionConsolePasskey, actionConsolePassword, actionConsoleRemove, actionConsoleSecond, actionConsoleSetup, actionConsoleSignIn, actionConsoleFailed, actionConsoleSignOut,
		actionKeyDelete, actionKeyImport, actionKeyIssue, actionKeyPrune, actionKeyRename, actionKeyResume, actionKeyRevoke, actionTreeRevoke, actionKeyRotate, actionKeySuspend,
		actionPepperAdd, actionStoreRestore, actionStreamCut,
	}
}

const (
	auditColumns = `seq, at, actor_kind, actor_id, actor_from, action, account_id, subject, detail`
	insertAudit  = `INSERT INTO audit (` + auditColumns + `, hash) VALUES `

	auditParameters = 10
)

func scanAudit(row scanner) (e AuditEntry, err error) {
	var from string
	if err = row.Scan(&e.Seq, &e.At, &e.Actor.Kind, &e.Actor.ID, &from, &e.Action, &e.AccountID, &e.Subject, &e.Detail); err != nil {
		return e, err
	}
	e.Actor.From, err = scanAddr(from)
	return e, err
}

// audit appends an entry to the audit trail.
func (t *txn) audit(now policy.Time, by Actor, action, accountID, subject, detail string) {
	if t.err != nil {
		return
	}
	if t.head == nil {
		// An entry under another pepper would break the chain.
		if err := t.store.checkPepper(t); err != nil {
			t.err = err
			return
		}
		head, err := lastHead(t.ctx, t)
		if err != nil {
			t.err = err
			return
		}
		t.head = &head
	}
	e := AuditEntry{At: now, Actor: by, Action: action, AccountID: accountID, Subject: subject, Detail: detail}
	head := t.head.next(t.store.hash, &e)
	t.entries = append(t.entries, auditRow{e, head.hash})
	t.head = &head
}

// auditRow is an entry with its hash.
type auditRow struct {
	AuditEntry
	hash [sha256.Size]byte
}

// values returns the columns in the order of insertAudit.
func (r *auditRow) values() []any {
	return []any{r.Seq, r.At, r.Actor.Kind, r.Actor.ID, addrText(r.Actor.From), r.Action, r.AccountID, r.Subject, r.Detail, r.hash[:]}
}

// LastAudit returns the number of the last entry of the audit trail; 0 if it has no entry.
func (s *Store) LastAudit(ctx context.Context) (seq int64, err error) {
	db, err := s.database()
	if err != nil {
		return 0, err
	}
	err = db.reader.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM audit`).Scan(&seq)
	return seq, fault(err)
}

// AuditAfter returns the entries of the audit trail after the entry with this number, oldest first,
// and at most limit of them.
func (s *Store) AuditAfter(ctx context.Context, seq int64, limit int) ([]AuditEntry, error) {
	return query(ctx, s, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2`, seq, limit)
}

// maxText is the longest name, label or reason, in bytes.
const maxText = 200

// CheckText refuses a name, label or reason that is too long, cannot be shown on one line,
// or has a secret in it. The error is ErrInvalid. It begins with the argument what, such as
// "the reason".
func CheckText(what, text string) error {
	if len(text) > maxText {
		return refuse(ErrInvalid, "%s has %d bytes: want %d at most", phrase.Word(what), len(text), maxText)
	}
	if policy.HoldsSecret(text) {
		return refuse(ErrInvalid, "%s has a key or service password in it, which is a secret: leave it out", phrase.Word(what))
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return refuse(ErrInvalid, "%s %q has characters that cannot be printed: want printable UTF-8", phrase.Word(what), text)
	}
	return nil
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func scanAddr(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("damaged address: %w", err)
	}
	return a, nil
}
