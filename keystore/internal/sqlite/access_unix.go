//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	writableByOthers = 0o022 // by the group, or by others
	readByOthers     = 0o044
)

// checkModes refuses a keystore that users other than its owner can write. Such
// users could lift restrictions, or put another keystore in its place. SQLite
// trusts the files beside the database by their names, so only the owner may be
// able to write the directory, even if it is sticky like /tmp: any user could put
// a -wal file there before SQLite does. The directories above are not checked.
func checkModes(path string) error {
	for _, name := range append([]string{path}, besideTarget(path)...) {
		fi, err := os.Stat(name)
		if err != nil {
			continue // the file may be missing
		}
		if fi.Mode().Perm()&writableByOthers != 0 {
			return fmt.Errorf("%s can be written by %s (mode %04o), who could let themselves in: want it to be the owner's alone, chmod 600 %s",
				name, writers(fi), fi.Mode().Perm(), name)
		}
	}
	for _, dir := range directoriesOf(path) {
		fi, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if fi.Mode().Perm()&writableByOthers == 0 {
			continue
		}
		if fi.Mode()&os.ModeSticky != 0 {
			return fmt.Errorf("its directory %s can be written by %s (mode %04o and sticky), who could put files beside it that SQLite reads: want a directory of its own, such as %s",
				dir, writers(fi), fi.Mode().Perm(), filepath.Join(dir, "speechgate"))
		}
		return fmt.Errorf("its directory %s can be written by %s (mode %04o), who could put another file in its place: want chmod go-w %s, or a directory of its own, such as %s",
			dir, writers(fi), fi.Mode().Perm(), dir, filepath.Join(dir, "speechgate"))
	}
	return nil
}

// writers names the users that can write the file, besides its owner.
func writers(fi os.FileInfo) string {
	if fi.Mode().Perm()&0o002 != 0 {
		return "all users"
	}
	return "its group"
}

// directoriesOf returns the directory of path. If path is a symbolic link, it also
// returns the directory of the target, where SQLite keeps the files beside the
// database.
func directoriesOf(path string) []string {
	dirs := []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		linked, err := filepath.EvalSymlinks(dirs[0])
		if dir := filepath.Dir(target); err != nil || dir != linked {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// besideTarget names the files that SQLite keeps beside the database, whose path may be
// a symbolic link.
func besideTarget(path string) []string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return Beside(path)
}

// readableByOthers returns the files of the keystore that its group or all users
// can read.
func readableByOthers(path string) (names []string) {
	for _, name := range append([]string{path}, besideTarget(path)...) {
		if fi, err := os.Stat(name); err == nil && fi.Mode().Perm()&readByOthers != 0 {
			names = append(names, name)
		}
	}
	return names
}

// findObstacle finds out why this process cannot write the keystore. It returns
// the cause and the remedy, or "" if it finds nothing.
func findObstacle(path string) string {
	files := slices.DeleteFunc(append([]string{path}, besideTarget(path)...), func(name string) bool {
		_, err := os.Lstat(name)
		return errors.Is(err, os.ErrNotExist)
	})
	for _, name := range append(files, directoriesOf(path)...) {
		fi, err := os.Stat(name)
		if err != nil {
			return fmt.Sprintf("%s cannot be reached: %v", name, errors.Unwrap(err))
		}
		mode, chmod := uint32(unix.R_OK|unix.W_OK), "chmod 600 "
		if fi.IsDir() {
			mode, chmod = unix.R_OK|unix.W_OK|unix.X_OK, "chmod 700 "
		}
		switch err := unix.Faccessat(unix.AT_FDCWD, name, mode, unix.AT_EACCESS); {
		case err == nil:
		case errors.Is(err, unix.EROFS):
			return name + " is on a file system that is mounted read-only: mount it writable, or name another path"
		case ownedBy(fi, os.Geteuid()):
			return fmt.Sprintf("%s has mode %04o, which keeps its owner from writing: %s%s", name, fi.Mode().Perm(), chmod, name)
		default:
			return fmt.Sprintf("%s belongs to another user than the one that this runs as (ID %d), and cannot be written: chown %d %s", name, os.Geteuid(), os.Geteuid(), name)
		}
	}
	return ""
}

func ownedBy(fi os.FileInfo, uid int) bool {
	owner, ok := ownerOf(fi)
	return !ok || owner == uid
}
