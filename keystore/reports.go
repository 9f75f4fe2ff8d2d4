package keystore

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

const (
	reportsKept = 70 * time.Second // before a report of a gateway is removed
	sweepEvery  = 10 * time.Second
)

// Report is what one gateway tells the others.
type Report = engine.Report

// SharesReports reports whether the gateways of the store can send each other reports: those of a
// store in PostgreSQL can.
func (s *Store) SharesReports() bool { return s.cfg.Postgres != nil }

// SendReport sends a report to the other gateways, which can read it for 70 seconds. If there is a
// report of the gateway with this number, SendReport does nothing. The store must be one for which
// SharesReports is true.
func (s *Store) SendReport(ctx context.Context, gateway string, number int64, body []byte) error {
	db, err := s.database()
	if err != nil {
		return err
	}
	if err := db.Reports().Send(ctx, gateway, number, body); err != nil {
		return fault(s.explain(err))
	}
	now, last := int64(s.mono()), s.swept.Load()
	if now-last >= int64(sweepEvery) && s.swept.CompareAndSwap(last, now) {
		return s.sweepReports(ctx, db)
	}
	return nil
}

// sweepReports removes the reports that nobody reads any more.
func (s *Store) sweepReports(ctx context.Context, db *database) error {
	if err := db.Reports().Sweep(ctx, reportsKept); err != nil {
		return fault(s.explain(err))
	}
	return nil
}

// ReceiveReports returns the reports of other gateways that are not older than span, 70 seconds
// at most, and whose numbers are higher than those in seen: those of each gateway in the order of their
// numbers. The store must be one for which SharesReports is true.
func (s *Store) ReceiveReports(ctx context.Context, gateway string, span time.Duration, seen map[string]int64) ([]Report, error) {
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	reports, err := db.Reports().Receive(ctx, gateway, min(span, reportsKept), seen)
	if err != nil {
		return nil, fault(s.explain(err))
	}
	return reports, nil
}

// ReportName returns a name for a text that must not be in a report, such as the name of a user: a
// hash of the text, with the pepper if there is one. All gateways of the store have the same.
func (s *Store) ReportName(text string) string {
	db, err := s.database()
	if err != nil {
		return "" // nothing is sent meanwhile
	}
	sum := s.hash.sum([]byte("report\x00" + db.id + "\x00" + text))
	return hex.EncodeToString(sum[:16])
}
