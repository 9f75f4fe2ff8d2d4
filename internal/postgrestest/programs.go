package postgrestest

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// programs are the paths of PostgreSQL's programs.
type programs struct{ initdb, control, baseBackup, dump, restore string }

// lackingError names a program that is not installed.
type lackingError string

func (e lackingError) Error() string { return string(e) }

// findPrograms finds the programs of PostgreSQL on the PATH, or where Debian's packages have them.
func findPrograms() (programs, error) {
	dirs := debianDirs()
	if path, err := exec.LookPath("pg_ctl"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			dirs = slices.Insert(dirs, 0, filepath.Dir(target)) // the other programs are beside it
		}
	}
	for _, dir := range dirs {
		in := func(name string) string { return filepath.Join(dir, name) }
		p := programs{in("initdb"), in("pg_ctl"), in("pg_basebackup"), in("pg_dump"), in("pg_restore")}
		if isProgram(p.initdb) && isProgram(p.control) && isProgram(p.baseBackup) && isProgram(p.dump) && isProgram(p.restore) {
			return p, nil
		}
	}
	return programs{}, lackingError("PostgreSQL (pg_ctl on the PATH or in /usr/lib/postgresql/*/bin)")
}

// debianDirs returns the directories of all versions, the newest first.
func debianDirs() []string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is right
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0: another directory
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
