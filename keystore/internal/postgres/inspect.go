package postgres

import (
	"context"
	"crypto/tls"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// firstSupported is the oldest version of PostgreSQL that the engine works with, as
// server_version_num.
const firstSupported = 130000

// Inspect returns what is known of the keystore without an upgrade of its schema. The version is
// 0 if there is no keystore.
func (e *Engine) Inspect(ctx context.Context) (storeID string, schema engine.Schema, err error) {
	d, err := e.reach(ctx)
	if err != nil {
		return "", schema, err
	}
	defer func() { _ = d.Close() }() // it has written nothing
	schema, err = readSchema(ctx, d.reader)
	if err == nil && schema.Version > 0 {
		err = d.readID(ctx)
	}
	return d.storeID, schema, err
}

// reach returns the database as it is, without an upgrade.
func (e *Engine) reach(ctx context.Context) (*database, error) {
	if err := e.findPooler(ctx); err != nil {
		return nil, connectError(err)
	}
	return &database{engine: e, pools: e.connect()}, nil
}

// Server is what InspectServer finds out.
type Server struct {
	Version   string // such as "15.18"
	Supported bool   // the engine works with this version
	Standby   bool   // the server is a standby, which cannot be written
	Pooler    bool   // a pooler is between this process and the server
	Deaf      error  // why no notifications of changes come; nil if they come
	Remote    bool   // a connection can leave this machine
	Encrypted bool   // all connections have TLS
	Verified  bool   // besides, an authority that this machine trusts must have signed the server's certificate
	// Lacking has the rights that a server needs and the role does not have, such as
	// "INSERT on api_keys". It is empty if there are no tables.
	Lacking []string
}

// InspectServer returns what is known of the server, and of the ways to it. It changes nothing.
func (e *Engine) InspectServer(ctx context.Context) (s Server, err error) {
	d, err := e.reach(ctx)
	if err != nil {
		return s, err
	}
	defer func() { _ = d.Close() }() // it has written nothing
	var version int
	err = d.reader.QueryRowContext(ctx, `SELECT current_setting('server_version'), CAST(current_setting('server_version_num') AS INTEGER), pg_is_in_recovery()`).
		Scan(&s.Version, &version, &s.Standby)
	if err != nil {
		return s, err
	}
	s.Version, _, _ = strings.Cut(s.Version, " ") // without the name of a distribution
	s.Supported, s.Pooler, s.Deaf = version >= firstSupported, e.pooler, d.deaf(ctx)
	s.Encrypted, s.Verified = true, true
	for _, cfg := range []*pgx.ConnConfig{e.place.pooled, e.place.direct} {
		encrypted, err := e.encrypted(ctx, cfg)
		if err != nil {
			return s, err
		}
		s.Remote = s.Remote || isRemote(cfg)
		s.Encrypted = s.Encrypted && encrypted
		s.Verified = s.Verified && encrypted && verified(&cfg.Config)
	}
	s.Lacking, err = d.lackingRights(ctx)
	return s, err
}

// deaf returns why no notifications come; nil if they come.
func (d *database) deaf(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := false
	err := d.newListener().listen(ctx, func() {
		heard = true
		cancel()
	})
	if heard {
		return nil
	}
	return connectError(err)
}

// encrypted reports whether a connection has TLS.
func (e *Engine) encrypted(ctx context.Context, cfg *pgx.ConnConfig) (bool, error) {
	cfg = cfg.Copy()
	cfg.DialFunc = limitSilence(cfg.DialFunc, writeSilence)
	conn, err := e.place.connect(ctx, cfg)
	if err != nil {
		return false, connectError(err)
	}
	_, encrypted := conn.PgConn().Conn().(*tls.Conn)
	return encrypted, conn.Close(ctx)
}

// verified reports whether every way to the server checks the server's certificate. For verify-ca,
// the check is a function.
func verified(cfg *pgconn.Config) bool {
	ways := []*tls.Config{cfg.TLSConfig}
	for _, f := range cfg.Fallbacks {
		ways = append(ways, f.TLSConfig)
	}
	for _, way := range ways {
		if way == nil || way.InsecureSkipVerify && way.VerifyPeerCertificate == nil && way.VerifyConnection == nil {
			return false
		}
	}
	return true
}

// lackingRights returns the rights that a server needs and the role does not have.
func (d *database) lackingRights(ctx context.Context) (lacking []string, err error) {
	if version, err := readVersion(ctx, d.reader); err != nil || version == 0 {
		return nil, err
	}
	var names, counted, counters []string
	for _, t := range tables() {
		names = append(names, t.name)
		if t.byRow {
			t.counter = "rowid"
		}
		if t.counter != "" {
			counted, counters = append(counted, t.name), append(counters, t.counter)
		}
	}
	rows, err := d.reader.QueryContext(ctx, `
		SELECT privilege || ' on ' || name
		FROM unnest(CAST($1 AS TEXT[])) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
		WHERE NOT has_table_privilege(name, privilege)
		UNION ALL
		SELECT privilege || ' on ' || pg_get_serial_sequence(name, counter)
		FROM unnest(CAST($2 AS TEXT[]), CAST($3 AS TEXT[])) AS counters (name, counter), unnest(ARRAY['USAGE', 'SELECT']) AS privilege
		WHERE NOT has_sequence_privilege(pg_get_serial_sequence(name, counter), privilege)`, names, counted, counters)
	if err != nil {
		return nil, err
	}
	defer func() { err = firstError(err, rows.Close()) }()
	for rows.Next() {
		var right string
		if err := rows.Scan(&right); err != nil {
			return nil, err
		}
		lacking = append(lacking, right)
	}
	return lacking, rows.Err()
}
