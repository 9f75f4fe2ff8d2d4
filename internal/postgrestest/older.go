package postgrestest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Archive writes the database of dsn into a file, by pg_dump, and returns the file.
func (s *Server) Archive(t testing.TB, dsn string) (path string) {
	t.Helper()
	name := databaseOf(t, dsn)
	path = filepath.Join(s.path, name+".dump")
	if err := s.run(s.programs.dump, "--format=custom", "--file="+path, "--dbname="+s.admin(name)); err != nil {
		t.Fatal(err)
	}
	return path
}

// PutBack puts what an archive has into the place of the database of dsn, by pg_restore. It ends all connections to the
// database. Before the new database has its tables, it calls emptied.
func (s *Server) PutBack(t testing.TB, dsn, archive string, emptied func()) {
	t.Helper()
	name := databaseOf(t, dsn)
	for _, statement := range []string{`DROP DATABASE ` + name + ` WITH (FORCE)`, `CREATE DATABASE ` + name + ` OWNER ` + role + ` TEMPLATE template0`} {
		if err := s.exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	emptied()
	if err := s.run(s.programs.restore, "--single-transaction", "--dbname="+s.admin(name), archive); err != nil {
		t.Fatal(err)
	}
}

// Snapshot copies the data of the server, and returns a function that stops the server as a crash does, puts the copy
// into the place of the data, and starts the server.
func (s *Server) Snapshot(t testing.TB) (putBack func()) {
	t.Helper()
	copied := filepath.Join(s.path, "snapshot")
	if err := s.run(s.programs.baseBackup, "-D", copied, "-d", s.admin("postgres"), "-X", "stream", "-c", "fast", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		s.Stop(t)
		if err := errors.Join(os.RemoveAll(s.data()), os.Rename(copied, s.data())); err != nil {
			t.Fatal(err)
		}
		s.StartAgain(t)
	}
}
