package keystore

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// AuditHead identifies the audit trail up to one entry. Its hash covers the entry and
// the hash before it, and so all entries up to this one. Compare heads with ==.
type AuditHead struct {
	Seq  int64 // number of the entry, from 1; 0 before the first entry
	hash [sha256.Size]byte
}

// String returns the head as "number:hash", which ParseAuditHead reads.
func (h AuditHead) String() string { return fmt.Sprintf("%d:%x", h.Seq, h.hash) }

// ParseAuditHead reads the text that [AuditHead.String] returns. The error quotes the
// text, and says which form is right.
func ParseAuditHead(text string) (h AuditHead, err error) {
	seq, sum, _ := strings.Cut(text, ":")
	h.Seq, err = strconv.ParseInt(seq, 10, 64)
	hash, hexErr := hex.DecodeString(sum)
	if err != nil || hexErr != nil || h.Seq < 0 || len(hash) != len(h.hash) {
		return AuditHead{}, phrase.Errorf("%q: want a number, a colon and 64 hexadecimal digits, as \"audit verify\" prints them", text)
	}
	copy(h.hash[:], hash)
	return h, nil
}

// firstHead is the head before the first entry. It binds the trail to its store.
func firstHead(storeID string) AuditHead {
	return AuditHead{hash: sha256.Sum256([]byte("speechgate audit trail\x00" + storeID))}
}

// next sets e.Seq and returns the head after e.
func (h AuditHead) next(hash hasher, e *AuditEntry) AuditHead {
	e.Seq = h.Seq + 1
	buf := append([]byte("speechgate audit entry\x00"), h.hash[:]...)
	buf = binary.BigEndian.AppendUint64(buf, uint64(e.Seq))
	buf = binary.BigEndian.AppendUint64(buf, uint64(e.At))
	for _, text := range []string{e.Actor.Kind, e.Actor.ID, addrText(e.Actor.From), e.Action, e.AccountID, e.Subject, e.Detail} {
		// The length before each text keeps the texts apart.
		buf = append(binary.AppendUvarint(buf, uint64(len(text))), text...)
	}
	return AuditHead{e.Seq, hash.sum(buf)}
}

const auditHead = `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`

// scanHead reads a row of auditHead.
func scanHead(row scanner) (h AuditHead, err error) {
	var hash []byte
	err = row.Scan(&h.Seq, &hash)
	copy(h.hash[:], hash) // VerifyAudit finds a damaged hash
	return h, err
}

// lastHead returns the head of the trail.
func lastHead(ctx context.Context, q querier) (h AuditHead, err error) {
	h, err = scanHead(q.QueryRowContext(ctx, auditHead))
	if errors.Is(err, sql.ErrNoRows) {
		var storeID string
		err = q.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'store_id'`).Scan(&storeID)
		return firstHead(storeID), err
	}
	return h, err
}

// chainVersion is the version of the schema that added the hashes.
const chainVersion = 3

// chainAudit gives hashes to the entries that were made before chainVersion.
func (s *Store) chainAudit(ctx context.Context, q engine.Conn) error {
	storeID, err := s.readPepper(ctx, q)
	if err != nil && !errors.Is(err, ErrNewPepper) {
		return err
	}
	entries, err := queryRows(ctx, q, scanAudit, `SELECT `+auditColumns+` FROM audit WHERE length(hash) = 0 ORDER BY seq`)
	if err != nil {
		return err
	}
	head, hash := firstHead(storeID), hasher{}
	for i := range entries {
		e := &entries[i]
		if e.addsPepper() {
			hash = s.hash
		}
		head.Seq = e.Seq - 1
		head = head.next(hash, e)
		if _, err := q.ExecContext(ctx, `UPDATE audit SET hash = $1 WHERE seq = $2`, head.hash[:], e.Seq); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		return nil
	}
	// This entry marks a boundary: the entries before it got their hashes now, and the
	// entries after it have them from the beginning.
	e := AuditEntry{At: s.cfg.Clock(), Actor: Actor{Kind: ActorStore}, Action: actionAuditChain, Subject: strconv.FormatInt(head.Seq, 10)}
	head = head.next(hash, &e)
	_, err = q.ExecContext(ctx, insertRows(insertAudit, auditParameters, 1), (&auditRow{e, head.hash}).values()...)
	return err
}

// addsPepper reports whether e is the entry from which the hashes are keyed.
func (e *AuditEntry) addsPepper() bool {
	return e.Actor.Kind == ActorStore && e.Action == actionPepperAdd
}

// AuditCheck is the result of VerifyAudit.
type AuditCheck struct {
	Entries int       // how many entries are whole, counted from the first
	First   int64     // number of the first entry that must be there: 1, if nothing was pruned
	Head    AuditHead // after the last whole entry
	// Fault says what is wrong with the next entry. It is empty if nothing is wrong.
	Fault string
	// Text is Fault as a text that can be said in several languages.
	Text phrase.Text
}

// fault notes what is wrong with the next entry.
func (c *AuditCheck) fault(text phrase.Text) { c.Fault, c.Text = text.String(), text }

// VerifyAudit reads the audit trail and finds the first entry that was changed or
// removed. kept is a head that was noted earlier and must be part of the trail; it may
// be nil. The error is ErrInvalid if the entry of kept has been pruned. Any other error
// means that the trail could not be read.
func (s *Store) VerifyAudit(ctx context.Context, kept *AuditHead) (c AuditCheck, err error) {
	db, err := s.database()
	if err != nil {
		return c, err
	}
	v := &auditVerifier{ctx: ctx, hash: s.hash, kept: kept}
	c, err = v.verify(db.reader)
	return c, fault(err)
}

// auditVerifier is one run of VerifyAudit.
type auditVerifier struct {
	AuditCheck

	ctx       context.Context
	tx        *sql.Tx
	hash      hasher
	keyedFrom int64 // number of the entry from which the hashes are keyed
	kept      *AuditHead

	until policy.Time // stop before the first entry that is newer; 0 means no limit
	most  int         // stop after so many entries; 0 means no limit
	last  policy.Time // the time of the last entry
}

func (v *auditVerifier) verify(db *sql.DB) (AuditCheck, error) {
	tx, err := db.BeginTx(v.ctx, snapshot)
	if err != nil {
		return v.AuditCheck, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	v.tx = tx
	if err = v.begin(); err == nil && v.Fault == "" {
		err = v.run()
	}
	if err == nil && v.Fault == "" {
		err = v.checkBeginning()
	}
	return v.AuditCheck, err
}

// begin finds where the trail begins: at entry 1, or after the entries that were
// pruned. A later entry says which were.
func (v *auditVerifier) begin() error {
	var storeID string
	err := v.tx.QueryRowContext(v.ctx, `SELECT value FROM meta WHERE name = 'store_id'`).Scan(&storeID)
	if err != nil {
		return err
	}
	v.Head = firstHead(storeID)
	switch pruned, err := prunedHead(v.ctx, v.tx); {
	case errors.Is(err, errPruneEntry):
		v.fault(phrase.New("%v", err))
		return nil
	case err != nil:
		return err
	case pruned.Seq > 0:
		v.Head = pruned
	}
	v.First = v.Head.Seq + 1
	if v.kept != nil && v.kept.Seq < v.Head.Seq {
		return refuse(ErrInvalid, "the head is that of entry %d, which has been pruned since: give a newer one, or none", v.kept.Seq)
	}
	err = v.tx.QueryRowContext(v.ctx, `SELECT COALESCE(MIN(seq), 0) FROM audit WHERE action = $1 AND actor_kind = $2`,
		actionPepperAdd, ActorStore).Scan(&v.keyedFrom)
	if err != nil {
		return err
	}
	v.checkKept()
	return nil
}

// checkBeginning finds a trail without any entry, or without its beginning. It knows
// changes that must have an entry.
func (v *auditVerifier) checkBeginning() error {
	var accounts bool
	err := v.tx.QueryRowContext(v.ctx, `SELECT EXISTS (SELECT 1 FROM accounts) AND NOT EXISTS (SELECT 1 FROM audit)`).Scan(&accounts)
	switch {
	case err != nil:
		return err
	case accounts:
		v.fault(phrase.New("every entry was removed: there are accounts, and each has its entry"))
	case v.hash.peppered() && v.keyedFrom == 0 && v.First == 1:
		v.fault(phrase.New("the entry about the pepper was removed"))
	}
	return nil
}

// errPruneEntry says that an entry about pruning was changed.
var errPruneEntry = phrase.Errorf("an entry about pruning was changed")

// prunedHead returns the chain head of the entries that were pruned. The newest entry
// about pruning contains it. If nothing was pruned, prunedHead returns the zero head.
func prunedHead(ctx context.Context, q querier) (h AuditHead, err error) {
	var subject string
	err = q.QueryRowContext(ctx, `SELECT subject FROM audit WHERE action = $1 AND actor_kind = $2 ORDER BY seq DESC LIMIT 1`,
		actionAuditPrune, ActorStore).Scan(&subject)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return AuditHead{}, nil
	case err != nil:
		return AuditHead{}, err
	}
	if h, err = ParseAuditHead(subject); err != nil {
		return AuditHead{}, fmt.Errorf("%w: head %w", errPruneEntry, err)
	}
	return h, nil
}

func (v *auditVerifier) run() error {
	text, args := `SELECT `+auditColumns+`, hash FROM audit ORDER BY seq`, []any(nil)
	if v.most > 0 { // a server on another machine sends all rows, also those that nobody reads
		text, args = text+` LIMIT $1`, []any{v.most}
	}
	rows, err := v.tx.QueryContext(v.ctx, text, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err returns the error
	for v.Fault == "" && rows.Next() {
		var stored []byte
		e, err := scanAudit(appending{rows, []any{&stored}})
		if err != nil {
			v.fault(phrase.New("entry %d was changed: %v", v.Head.Seq+1, err))
			break
		}
		if v.until != 0 && e.At > v.until {
			return nil
		}
		v.check(&e, stored)
	}
	if v.Fault == "" && v.kept != nil && v.kept.Seq > v.Head.Seq {
		v.fault(phrase.New("entry %d was removed, with all up to %d that the head stands for: the trail ends before it", v.Head.Seq+1, v.kept.Seq))
	}
	return rows.Err()
}

// check compares an entry with its hash.
func (v *auditVerifier) check(e *AuditEntry, stored []byte) {
	if e.Seq != v.Head.Seq+1 {
		v.fault(phrase.New("entry %d was removed: entry %d comes next", v.Head.Seq+1, e.Seq))
		return
	}
	hash := v.hash
	if e.Seq < v.keyedFrom {
		hash = hasher{}
	}
	next := v.Head.next(hash, e)
	if subtle.ConstantTimeCompare(next.hash[:], stored) != 1 {
		v.fault(phrase.New("entry %d (%s of %s) was changed, or its hash, or those before it were rewritten", e.Seq, e.Action, e.At))
		return
	}
	if e.Actor.Kind == ActorStore && e.Action == actionAuditPrune && !v.duePrune(e) {
		return
	}
	v.Head, v.last = next, e.At
	v.Entries++
	v.checkKept()
}

// duePrune reports whether an entry about pruning is not too early. An attacker may
// have changed the times of entries first, so that they were pruned.
func (v *auditVerifier) duePrune(e *AuditEntry) bool {
	text, ok := strings.CutPrefix(e.Detail, prunedUpTo)
	last, err := time.Parse(time.RFC3339, text)
	if !ok || err != nil || policy.At(last) > e.At.Add(-auditKept) {
		v.fault(phrase.New("entry %d is about entries that were pruned before their time", e.Seq))
		return false
	}
	return true
}

// prunedUpTo is the beginning of the detail of an entry about pruning. The time of the
// last pruned entry follows.
const prunedUpTo = "the entries up to "

// checkKept compares the trail with the head that was noted, if it has reached the
// number of that head.
func (v *auditVerifier) checkKept() {
	if v.kept == nil || v.kept.Seq != v.Head.Seq || v.kept.hash == v.Head.hash {
		return
	}
	v.fault(phrase.New("entry %d is not the one that the head was noted of: it, or one before it, was rewritten, or the head is another keystore's", v.kept.Seq))
}

// appending is a scanner of rows that have additional columns at the end, which it scans
// into more.
type appending struct {
	scanner

	more []any
}

func (a appending) Scan(dest ...any) error { return a.scanner.Scan(append(dest, a.more...)...) }

// errTrail stops pruning. Damaged entries are not pruned, because they are evidence.
var errTrail = errors.New("the audit trail is not whole, and is not pruned: see \"audit verify\"")

// pruneAudit removes the oldest entries of the trail, and adds an entry that says so.
func (s *Store) pruneAudit(ctx context.Context, now policy.Time) (more bool, err error) {
	db, err := s.database()
	if err != nil {
		return false, err
	}
	// The verification may take long, so it does not run in the writer's transaction.
	// The transaction removes the verified entries only if the hash of the last of them
	// is still the same.
	v := &auditVerifier{ctx: ctx, hash: s.hash, until: now.Add(-auditKept), most: auditBatch}
	c, err := v.verify(db.reader)
	switch {
	case err != nil:
		return false, fault(err)
	case c.Fault != "":
		return false, fault(fmt.Errorf("%w: %s", errTrail, c.Fault))
	case c.Entries == 0:
		return false, nil
	}
	err = s.write(ctx, func(t *txn) error {
		if head, err := headAt(t.ctx, t, "", c.Head.Seq); err != nil || head != c.Head {
			return err
		}
		// First the new entry, because its hash includes the hash before it.
		t.audit(now, Actor{Kind: ActorStore}, actionAuditPrune, "", c.Head.String(), prunedUpTo+v.last.String())
		t.exec(`DELETE FROM audit WHERE seq <= $1`, c.Head.Seq)
		return t.err
	})
	return c.Entries == auditBatch, err
}
