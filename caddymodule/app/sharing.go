package app

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/keystore"
)

// shareCounts makes the process count together with the other gateways of the store, until stop is
// called. If the store has no way to do so, the process counts by itself.
func shareCounts(shares *share.Exchange, store *keystore.Store, log *zap.Logger) (stop func()) {
	if !store.SharesReports() {
		return func() {}
	}
	return shares.Share(transport{store}, log)
}

// transport is a [share.Transport] over a keystore.
type transport struct{ store *keystore.Store }

// Send implements [share.Transport].
func (t transport) Send(ctx context.Context, gateway string, number int64, body []byte) error {
	return t.store.SendReport(ctx, gateway, number, body)
}

// Receive implements [share.Transport].
func (t transport) Receive(ctx context.Context, gateway string, span time.Duration, seen map[string]int64) ([]share.Report, error) {
	received, err := t.store.ReceiveReports(ctx, gateway, span, seen)
	if err != nil {
		return nil, err
	}
	reports := make([]share.Report, len(received))
	for i, r := range received {
		reports[i] = share.Report(r)
	}
	return reports, nil
}

// Name implements [share.Transport].
func (t transport) Name(text string) string { return t.store.ReportName(text) }
