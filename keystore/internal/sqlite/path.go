package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

var (
	errGone  = engine.NoStore("there is no file at this path")
	errEmpty = engine.NoStore("the file is empty: put a keystore in its place")
)

// creating is held while a store of this process creates a file. No other store of this
// process may open the file then: when a process closes a file, it loses all its locks on
// the file, also the locks of SQLite's connections.
var creating sync.Mutex

// createFile creates an empty file and missing directories, if there is no file.
func createFile(path string) error {
	creating.Lock()
	defer creating.Unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // checkFile checks what is there
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("its directory cannot be made: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrExist) {
		return nil // another process made it
	}
	if err != nil {
		return fmt.Errorf("the file cannot be made: %w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	// The file's name must survive a loss of power, as its contents do.
	SyncDir(filepath.Dir(path))
	return nil
}

// CheckPlace returns the error that creating a database file at path would return, as far as
// this can be known without creating anything. It also returns the directory that must take
// the file, or the directories that are missing.
func CheckPlace(path string) (dir string, err error) {
	if dir, err = NearestDir(path); err != nil {
		return "", fmt.Errorf("its directory cannot be made: %w", err)
	}
	missing := path // what is missing in dir
	for filepath.Dir(missing) != dir {
		missing = filepath.Dir(missing)
	}
	if missing == path {
		if err := errors.Join(checkNoOrphanLog(path), checkModes(path)); err != nil {
			return "", err
		}
	}
	if obstacle := findObstacle(missing); obstacle != "" {
		return "", errors.New(obstacle)
	}
	return dir, nil
}

// NearestDir returns the directory of path. If the directory does not exist, NearestDir returns
// the nearest directory above it that exists. The path must be absolute.
func NearestDir(path string) (string, error) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		fi, err := os.Stat(dir)
		switch {
		case err == nil && !fi.IsDir():
			return "", fmt.Errorf("%s is not a directory", dir)
		case err == nil:
			return dir, nil
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			return "", err
		}
	}
}

// checkNoOrphanLog refuses to create a store beside the -wal file of a missing database,
// because SQLite would delete the -wal file. It may be all that is left of a keystore.
func checkNoOrphanLog(path string) error {
	wal := path + "-wal"
	// A process that is creating the store has a -wal file too, but only after it
	// has written to the file.
	if !hasContent(wal) || hasContent(path) {
		return nil
	}
	return fmt.Errorf("the file is missing or empty, but %s has the latest changes of a keystore: put the file that belongs to it back, or move %s away and restore a backup", wal, wal)
}

func hasContent(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Size() > 0
}

// checkFile checks the file without opening it.
func checkFile(path string, commandLine bool) (os.FileInfo, error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errGone
	case err != nil:
		return nil, err
	case fi.IsDir():
		return nil, fmt.Errorf("it is a directory: want the name of a file, such as %s", filepath.Join(path, "keystore.db"))
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("it is not a regular file (%s)", fi.Mode())
	}
	if commandLine {
		if err := checkOwner(fi); err != nil {
			return nil, err
		}
	}
	return fi, checkModes(path)
}

// checkPlace returns an error if the open file is no longer the one at the path.
func (d *database) checkPlace() error {
	fi, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errGone
	case err != nil:
		return err
	case !os.SameFile(fi, d.file):
		return engine.ErrReplaced
	}
	return nil
}

// Beside returns the paths of the files that SQLite keeps beside a database file.
func Beside(path string) []string {
	return []string{path + "-wal", path + "-shm", path + "-journal"}
}

// noteBeside notes which -wal and -shm files belong to this database.
func (d *database) noteBeside() {
	for _, suffix := range []string{"-wal", "-shm"} {
		if fi, err := os.Stat(d.path + suffix); err == nil {
			d.beside = append(d.beside, fi)
		}
	}
}

// removeBeside removes the -wal and -shm files of this database. SQLite would use them
// for the next file at the path.
func (d *database) removeBeside() {
	for _, suffix := range []string{"-wal", "-shm"} {
		fi, err := os.Stat(d.path + suffix)
		if err == nil && slices.ContainsFunc(d.beside, func(old os.FileInfo) bool { return os.SameFile(old, fi) }) {
			_ = os.Remove(d.path + suffix) // SQLite copes with an empty one
		}
	}
}
