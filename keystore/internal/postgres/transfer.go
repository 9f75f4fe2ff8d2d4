package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// Transfer copies the tables of a keystore into a database of either engine, row by row. Its memory
// does not grow with the tables.
type Transfer struct {
	From         engine.Querier // sees the keystore as it was at one instant
	FromPostgres bool           // From is a PostgreSQL database, and not an SQLite file
	To           Destination
	// Progress is told of each part of a table. Default: nobody is told.
	Progress func(Progress)
	// Kept is how many rows Fill has found in To: an earlier copy has brought them.
	Kept int64
}

// Destination is the database that a transfer fills. It has all tables.
type Destination interface {
	// Querier returns what reads the tables.
	Querier() engine.Querier
	// Insert adds rows to a table, in one transaction.
	Insert(ctx context.Context, table string, columns []string, rows engine.Rows) error
	// Empty removes all rows of tables. Each table comes after the tables to which it refers.
	Empty(ctx context.Context, tables []string) error
	// SetCounter says up to which number the rows of a table were numbered.
	SetCounter(ctx context.Context, table, column string, used int64) error
}

// Progress says how far a transfer is.
type Progress struct {
	Table       string
	Compared    bool // the rows were compared; otherwise they were copied
	Rows, Total int64
}

// Summary describes the rows of a table that are the same on both sides.
type Summary struct {
	Table string
	Rows  int64
	Sum   [sha256.Size]byte // SHA-256 of all rows, in the order of their keys
}

// batch is how many rows are inserted in one transaction.
const batch = 20_000

// Fill copies all tables. Rows that To has already stay, as far as From has the same rows. From the
// first table on that differs, Fill begins again.
func (f *Transfer) Fill(ctx context.Context) error {
	all := tables()
	for i, t := range all {
		if err := f.fillTable(ctx, t, all[i:]); err != nil {
			return fmt.Errorf("the table %s: %w", t.name, err)
		}
	}
	return nil
}

// fillTable copies the table t. rest has the table, and those after it.
func (f *Transfer) fillTable(ctx context.Context, t table, rest []table) error {
	total, columns, err := f.describe(ctx, t)
	if err != nil {
		return err
	}
	from, err := openTable(ctx, f.From, t, columns)
	if err != nil {
		return err
	}
	defer func() { from.close() }()
	same, err := f.skip(ctx, from)
	if err != nil {
		return err
	}
	if same {
		f.Kept += from.read
	} else {
		var names []string
		for _, r := range rest {
			names = append(names, r.name)
		}
		from.close()
		if err := f.To.Empty(ctx, names); err != nil {
			return err
		}
		if from, err = openTable(ctx, f.From, t, columns); err != nil {
			return err
		}
	}
	for more := true; more; {
		part := &part{rows: from, left: batch}
		if err := f.To.Insert(ctx, t.name, from.columns, part); err != nil {
			return firstError(part.err, err)
		}
		f.tell(Progress{Table: t.name, Rows: from.read, Total: total})
		more = part.left == 0
	}
	return f.copyCounter(ctx, t)
}

// skip reads the rows that To has from a table, and as many of From. It reports whether they are
// the same.
func (f *Transfer) skip(ctx context.Context, from *tableRows) (same bool, err error) {
	to, err := openTable(ctx, f.To.Querier(), from.table, from.columns)
	if err != nil {
		return false, err
	}
	defer to.close()
	for to.Next() {
		if !from.Next() {
			return false, firstError(from.Err(), to.Err())
		}
		if same, err := sameRow(from, to); err != nil || !same {
			return false, err
		}
	}
	return true, to.Err()
}

// copyCounter makes To go on with the numbers where From stopped.
func (f *Transfer) copyCounter(ctx context.Context, t table) error {
	column := t.counter
	if t.byRow {
		column = "rowid"
	}
	if column == "" {
		return nil
	}
	used, err := f.lastUsed(ctx, t.name, column)
	if err != nil {
		return err
	}
	return f.To.SetCounter(ctx, t.name, column, used)
}

// lastUsed returns the highest number that the rows of a table have had in From.
func (f *Transfer) lastUsed(ctx context.Context, table, column string) (n int64, err error) {
	if f.FromPostgres {
		return lastNumber(ctx, f.From, table, column)
	}
	// SQLite counts the rows of few tables only.
	err = f.From.QueryRowContext(ctx, `SELECT MAX(COALESCE((SELECT MAX(seq) FROM sqlite_sequence WHERE name = $1), 0),
		COALESCE((SELECT MAX(`+column+`) FROM `+table+`), 0))`, table).Scan(&n)
	return n, err
}

// Compare reads all tables of both sides, and compares them row by row. The error is of the type
// *DifferenceError if they differ.
func (f *Transfer) Compare(ctx context.Context) (all []Summary, err error) {
	for _, t := range tables() {
		s, err := f.compareTable(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("the table %s: %w", t.name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func (f *Transfer) compareTable(ctx context.Context, t table) (Summary, error) {
	s := Summary{Table: t.name}
	total, columns, err := f.describe(ctx, t)
	if err != nil {
		return s, err
	}
	from, err := openTable(ctx, f.From, t, columns)
	if err != nil {
		return s, err
	}
	defer from.close()
	to, err := openTable(ctx, f.To.Querier(), t, columns)
	if err != nil {
		return s, err
	}
	defer to.close()
	hash := sha256.New()
	for {
		there, copied := from.Next(), to.Next()
		if err := firstError(from.Err(), to.Err()); err != nil {
			return s, err
		}
		switch {
		case !there && !copied:
			hash.Sum(s.Sum[:0])
			f.tell(Progress{t.name, true, s.Rows, total})
			return s, nil
		case !copied:
			return s, &DifferenceError{from.label(), "is missing in the copy"}
		case !there:
			return s, &DifferenceError{to.label(), "is in the copy only"}
		}
		same, err := sameRow(from, to)
		if err != nil {
			return s, err
		}
		if !same {
			return s, &DifferenceError{from.label(), "differs in the copy" + differing(from, to)}
		}
		s.Rows++
		_, _ = hash.Write(from.encoded) // a hash returns no error
		if s.Rows%batch == 0 {
			f.tell(Progress{t.name, true, s.Rows, total})
		}
	}
}

// DifferenceError says which row is not the same on both sides. It has no secret.
type DifferenceError struct{ row, what string }

// Error implements error.
func (e *DifferenceError) Error() string { return "the row " + e.row + " " + e.what }

// describe returns how many rows of a table are copied, and its columns.
func (f *Transfer) describe(ctx context.Context, t table) (rows int64, columns []string, err error) {
	if columns, err = columnsOf(ctx, f.From, f.To.Querier(), t); err != nil {
		return 0, nil, err
	}
	err = f.From.QueryRowContext(ctx, `SELECT COUNT(*)`+t.from()).Scan(&rows)
	return rows, columns, err
}

func (f *Transfer) tell(p Progress) {
	if f.Progress != nil {
		f.Progress(p)
	}
}

// openTable returns the rows of a table on one side, in the order of their keys.
func openTable(ctx context.Context, q engine.Querier, t table, columns []string) (*tableRows, error) {
	rows, err := readTable(ctx, q, t, columns, t.key)
	if err != nil {
		return nil, err
	}
	return &tableRows{rowSource: rows, table: t, columns: columns}, nil
}
