package engine

import "fmt"

// SchemaVersion is the version of the tables that the keystore works with. Every
// engine counts its migrations up to this number.
const SchemaVersion = 20

// Compatible is the oldest version of programs that work with the tables of SchemaVersion, by their
// own SchemaVersion. The last migration that an older program does not stand has written it to the
// row "compatible" of the table meta.
const Compatible = 20

// ReadCompatible is the query of the row "compatible"; 0 if there is no such row.
const ReadCompatible = `SELECT COALESCE((SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'compatible'), 0)`

// Schema describes the tables of a database.
type Schema struct {
	// Version is the version of the tables; 0 if the database has no tables.
	Version int64
	// Compatible is the oldest version of programs that work with the tables; 0 if the tables do
	// not say.
	Compatible int64
}

// CheckNewer returns an error if the tables are newer than SchemaVersion, and this program does not
// work with them. IsLost is true for it.
func (s Schema) CheckNewer() error {
	if s.Version <= SchemaVersion || s.Compatible > 0 && s.Compatible <= SchemaVersion {
		return nil
	}
	return Lost(fmt.Sprintf("its schema is version %d, and this program knows versions up to %d: run the newer program, or restore a backup from before it", s.Version, SchemaVersion))
}

// CheckKnown returns an error if the tables are newer than SchemaVersion. It is for what must not
// miss a table or a column, such as a copy of all rows.
func (s Schema) CheckKnown() error {
	if s.Version <= SchemaVersion {
		return nil
	}
	return fmt.Errorf("its schema is version %d, and this program knows all tables of versions up to %d only: do this with the newer program", s.Version, SchemaVersion)
}

// ErrTooOld says that the tables have changed since they were opened, and need a newer program. IsLost
// is true for it: this program must leave the tables alone.
var ErrTooOld = Lost(fmt.Sprintf("its schema has changed, and this program, which knows versions up to %d, does not work with it: run the newer program", SchemaVersion))

// CheckCompatible returns ErrTooOld if this program does not work with tables whose
// Schema.Compatible is given.
func CheckCompatible(compatible int64) error {
	if compatible > SchemaVersion {
		return ErrTooOld
	}
	return nil
}
