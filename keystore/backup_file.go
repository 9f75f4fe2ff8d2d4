package keystore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// newTemp makes an empty file beside path, which only its owner can read.
func newTemp(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*") // with mode 0600
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func removeTemp(path string) {
	for _, name := range append(sqlite.Beside(path), path) {
		_ = os.Remove(name)
	}
}

// moveInto makes the file temp survive a loss of power, and gives it the name path. After an
// error, path is as before. The error is fs.ErrExist if there is a file at path. A rename
// alone would overwrite a file that another process has just made there.
func moveInto(temp, path string) error {
	if err := syncFile(temp); err != nil {
		return err
	}
	return link(temp, path)
}

// syncFile makes a file's contents survive a loss of power.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the store named the file
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// link gives the file temp the additional name path.
func link(temp, path string) error {
	err := os.Link(temp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = claim(temp, path)
	}
	if err == nil {
		sqlite.SyncDir(filepath.Dir(path))
	}
	return err
}

// claim is link for file systems without hard links.
func claim(temp, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), os.Rename(temp, path)); err != nil {
		_ = os.Remove(path)
		return err
	}
	return nil
}
