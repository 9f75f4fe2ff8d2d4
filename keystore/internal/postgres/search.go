package postgres

import (
	"context"
	"database/sql"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// SearchIndex is the name of an index that the operator can make for searches in labels. No migration
// makes it: it needs the extension pg_trgm on every server that may become the primary.
const SearchIndex = "api_keys_search"

// limitSearch limits each statement of the transaction to $1 milliseconds, and returns whether the
// search index can be used. An index that CREATE INDEX CONCURRENTLY has not finished is not valid.
const limitSearch = `SELECT set_config('statement_timeout', $1, TRUE),
	EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('` + SearchIndex + `') AND indisvalid)`

// Search implements [engine.Database]. The index has the groups of three letters of each label. For a
// text whose groups are in most labels it takes seconds, and so the time is limited.
func (d *database) Search(ctx context.Context, limit time.Duration, read func(engine.Querier) error) (done bool, err error) {
	tx, err := d.lists.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	var set string
	var usable bool
	err = tx.QueryRowContext(ctx, limitSearch, strconv.FormatInt(limit.Milliseconds(), 10)).Scan(&set, &usable)
	if err != nil || !usable {
		return false, err
	}
	err = read(tx)
	if hasCode(err, codeQueryCanceled) {
		return false, nil
	}
	return err == nil, err
}
