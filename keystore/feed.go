package keystore

import (
	"context"
	"strconv"
)

// feedBatch is how many changes a reader takes one by one; behind by more, it
// drops everything.
const feedBatch = 10_000

// feedState is where a change feed stands.
type feedState struct {
	storeID string
	pruned  int64 // the highest number that was pruned
	last    int64 // the highest number
}

func readFeedState(ctx context.Context, q querier) (f feedState, err error) {
	var pruned string
	err = q.QueryRowContext(ctx, `SELECT
		(SELECT value FROM meta WHERE name = 'store_id'),
		(SELECT value FROM meta WHERE name = 'feed_pruned'),
		(SELECT COALESCE(MAX(seq), 0) FROM feed)`).Scan(&f.storeID, &pruned, &f.last)
	if err != nil {
		return f, err
	}
	if f.pruned, err = strconv.ParseInt(pruned, 10, 64); err != nil {
		return f, err
	}
	f.last = max(f.last, f.pruned)
	return f, nil
}

// readFeed returns the changes after the number seen, and the number to go on
// from. complete is false where some are missing or they are too many: then
// everything may have changed.
func readFeed(ctx context.Context, q querier, seen int64) (changes []change, f feedState, complete bool, err error) {
	if f, err = readFeedState(ctx, q); err != nil {
		return nil, f, false, err
	}
	switch {
	case seen == f.last:
		return nil, f, true, nil
	case seen < f.pruned, seen > f.last, f.last-seen > feedBatch:
		return nil, f, false, nil
	}
	changes, err = queryRows(ctx, q, func(row scanner) (c change, err error) {
		return c, row.Scan(&c.kind, &c.ref)
	}, `SELECT kind, ref FROM feed WHERE seq > $1 AND seq <= $2 ORDER BY seq`, seen, f.last)
	return changes, f, true, err
}
