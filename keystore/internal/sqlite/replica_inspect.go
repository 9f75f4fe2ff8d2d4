package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ReplicaFile is the file of a replica, for a look at it. A server may be using it.
type ReplicaFile struct {
	Path     string   // of the file, which may be missing
	Dir      string   // its directory, or the nearest one above it that exists
	Readable []string // the files of the replica that users other than its owner can read
	Bytes    int64    // with the -wal file
}

// InspectReplica looks at the file of a replica in a directory, and makes nothing. The error is that of OpenReplica, as
// far as this can be known.
func InspectReplica(dir string) (f ReplicaFile, err error) {
	f.Path = filepath.Join(dir, replicaName)
	if f.Dir, err = NearestDir(f.Path); err != nil {
		return f, err
	}
	missing := f.Path // what is missing in Dir
	for filepath.Dir(missing) != f.Dir {
		missing = filepath.Dir(missing)
	}
	if missing == f.Path {
		_, err := checkFile(f.Path, true)
		if errors.Is(err, errGone) {
			err = checkModes(f.Path) // of the directory
		}
		if err != nil {
			return f, err
		}
	}
	if obstacle := findObstacle(missing); obstacle != "" {
		return f, errors.New(obstacle)
	}
	f.Readable = readableByOthers(f.Path)
	f.Bytes = fileSize(f.Path) + fileSize(f.Path+"-wal")
	return f, nil
}

// Open opens the file for reading. The error is fs.ErrNotExist if there is no file, and says what is wrong with a file that
// OpenReplica sets aside.
func (f ReplicaFile) Open(ctx context.Context) (*sql.DB, error) {
	if _, err := os.Stat(f.Path); err != nil {
		return nil, fs.ErrNotExist
	}
	db, err := OpenUnchanged(f.Path)
	if err != nil {
		return nil, err
	}
	var id, format int64
	err = db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version)`).Scan(&id, &format)
	switch {
	case err == nil && (id != replicaID || format != replicaFormat):
		err = errNoReplica
	case Damaged(err):
		err = errors.New("it is damaged")
	}
	if err != nil {
		_ = db.Close() // it has read only
		return nil, err
	}
	return db, nil
}
