package postgres

import (
	"context"
	"database/sql"
	"errors"
)

var errOtherDatabase = errors.New("the direct connection leads to another database than the connection string: want the same database")

// checkDirect makes sure that both connection strings lead to one database. Otherwise migrations
// and notifications would be those of another one.
func (d *database) checkDirect(ctx context.Context) error {
	if d.engine.place.direct == d.engine.place.pooled {
		return nil
	}
	pooled, err := identityOf(ctx, d.reader)
	if err != nil {
		return connectError(err)
	}
	direct, err := identityOf(ctx, d.working)
	if err != nil {
		return errors.New("the direct connection: " + connectError(err).Error())
	}
	if pooled != direct {
		return errOtherDatabase
	}
	return nil
}

// identityOf returns what no two databases of any servers share, except those of standbys.
func identityOf(ctx context.Context, pool *sql.DB) (id string, err error) {
	err = pool.QueryRowContext(ctx, `SELECT system_identifier || '/' || current_database() FROM pg_control_system()`).Scan(&id)
	return id, err
}
