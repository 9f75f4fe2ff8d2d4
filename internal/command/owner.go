package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/keystore"
)

// checkStore reports whether the keystore exists. It checks the owner of the keystore's file
// before SQLite opens the file. If another user ran the command, SQLite would make files beside
// it that the owner's server could not open.
func checkStore(cmd *cobra.Command, t target) (exists bool, err error) {
	if t.Postgres != nil {
		_, err := keystore.Inspect(cmd.Context(), t.Config)
		if errors.Is(err, keystore.ErrNoStore) {
			return false, nil
		}
		return err == nil, err
	}
	path, command := t.Path, cmd.CommandPath()
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, fs.ErrPermission):
		if dir, fi := nearestDir(path); fi != nil {
			return false, checkOwner(fi, "the directory "+dir+" of the keystore "+filepath.Base(path), command, t, err)
		}
		return false, fmt.Errorf("keystore: %w", err)
	case err != nil:
		return false, fmt.Errorf("keystore: %w", err)
	}
	// An empty file is not a keystore yet: a keystore can be made in it.
	return fi.Size() > 0, checkOwner(fi, "the keystore "+path, command, t, nil)
}

// ownership is the end of a message about a new keystore: whose file it is. A database has no such
// owner.
func (t target) ownership() string {
	if t.Postgres != nil {
		return ""
	}
	return "; it belongs to " + osUser()
}

// nearestDir returns the directory of path. If the directory does not exist, or this user
// cannot see it, nearestDir returns the nearest directory above that this user can see.
func nearestDir(path string) (string, os.FileInfo) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil {
			return dir, fi
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
	}
}

// checkOwner refuses to run as another user than the owner of the file that fi
// describes. If this user is the owner, it returns fallback.
func checkOwner(fi os.FileInfo, what, command string, t target, fallback error) error {
	owner, known := ownerOf(fi)
	me := os.Geteuid()
	if !known || owner == me {
		return fallback
	}
	name, sudo := userName(owner), userName(owner)
	if name == strconv.Itoa(owner) {
		sudo = "'#" + name + "'" // the form in which sudo takes a user ID
	}
	return fmt.Errorf("%s belongs to user %s, and this command runs as %s: run it as the owner, sudo -u %s %s %s…",
		what, name, userName(me), sudo, command, t.flags)
}

// othersWrite says how a user other than this user and root can have written the file. It
// returns "" if only these two can have written it, and on a system where the owner of a file
// is not known. The owner of a symbolic link counts too, because the owner chooses the file.
func othersWrite(path string) string {
	link, err := os.Lstat(path)
	if err != nil {
		return "" // reading the file shows the error
	}
	file, err := os.Stat(path)
	if err != nil {
		return ""
	}
	for _, fi := range []os.FileInfo{link, file} {
		owner, known := ownerOf(fi)
		switch {
		case !known:
			return ""
		case owner != os.Geteuid() && owner != 0:
			return "belongs to user " + userName(owner)
		case fi.Mode()&fs.ModeSymlink == 0 && fi.Mode().Perm()&0o022 != 0:
			return "can be written by users other than its owner"
		}
	}
	return ""
}

// operatorName returns the name of the person who runs the command, for the audit trail.
// The argument name is the user of the process. If sudo started the command, sudoUser is
// the person: the result is "NAME for SUDOUSER".
func operatorName(name, sudoUser string) string {
	if sudoUser != name && nameForm.MatchString(sudoUser) {
		name += " for " + sudoUser
	}
	return name
}

// nameForm is what a user name looks like.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$`)

// osUser returns the name of the user who runs the command, or the user's ID if there is
// no name.
func osUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// userName returns a user's name, or the ID if there is no name.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return id
}
