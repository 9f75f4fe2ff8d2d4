package postgres

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

func TestPasswordFile_HasThePasswordAlone(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("canary", maxPasswordFile/6)
	for name, test := range map[string]struct{ text, password, err string }{
		"a password":                 {"ca na/ry@%'", "ca na/ry@%'", ""},
		"a line":                     {"canary\n", "canary", ""},
		"a line of Windows":          {"canary\r\n", "canary", ""},
		"spaces, which belong to it": {" canary ", " canary ", ""},
		"the longest":                {long + "\n", long, ""},
		"nothing":                    {"", "", "is empty"},
		"an empty line":              {"\n", "", "is empty"},
		"two lines":                  {"canary\ncanary", "", "has several lines"},
		"too much":                   {long + "canary", "", "has more than 4096 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			place, err := ParsePlace("postgres://gateway:another@localhost/keys", "")
			if err != nil {
				t.Fatal(err)
			}
			cfg := place.pooled.Copy()
			err = place.WithPasswordFile(path).fillPassword(context.Background(), cfg)
			switch {
			case test.err == "" && (err != nil || cfg.Password != test.password):
				t.Errorf("the password is %q, %v, want %q", cfg.Password, err, test.password)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), path+" "+test.err) || strings.Contains(err.Error(), "canary")):
				t.Errorf("the error is %v, want %q", err, test.err)
			}
		})
	}
	var cfg pgx.ConnConfig
	cfg.Password = "another"
	if err := (Place{}).fillPassword(context.Background(), &cfg); err != nil || cfg.Password != "another" {
		t.Errorf("without a file the password is %q, %v", cfg.Password, err)
	}
}

// A server was not asked, so the error does not speak of one.
func TestPasswordFile_ItsErrorIsNoneOfTheServer(t *testing.T) {
	t.Parallel()
	empty, missing := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "missing")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		empty:   "the password file " + empty + " is empty: want the password alone",
		missing: "the password file cannot be read: open " + missing + ": no such file or directory",
	} {
		e := New(placeOf(t, "postgres://gateway@127.0.0.1:1/keys?sslmode=disable", "").WithPasswordFile(path), true, zap.NewNop())
		d := &database{engine: e, pools: e.connect()}
		defer d.Close()
		_, opening := e.Open(t.Context(), creating)
		for what, err := range map[string]error{"opening": opening, "a connection of a pool": d.reader.PingContext(t.Context())} {
			if err == nil || err.Error() != want || e.Unreachable(err) {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
	}
}

// A password that the server refuses is told with the place that it is from. No text has the password itself.
func TestOpen_NamesTheSourceOfARefusedPassword(t *testing.T) {
	const wrong = "wrong-pa55"
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file, passfile, empty := write("password", wrong+"\n"), write("pgpass", "*:*:*:*:"+wrong+"\n"), write("empty", "")
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	bare := strings.Replace(dsn, ":"+server.Password()+"@", "@", 1)
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	words := "host=" + cfg.Host + " user=gateway dbname=" + cfg.Database + " sslmode=disable port=" + bare[strings.LastIndex(bare, ":")+1:strings.LastIndex(bare, "/")]
	for _, c := range []struct{ name, dsn, file, variable, passfile, want string }{
		{"none", bare, "", "", empty, "no password is configured: write it into a file and name the file with password_file, or set PGPASSWORD or PGPASSFILE"},
		{"the password file", dsn, file, "", empty, "check the password in the file " + file + ", and the user of the connection string"},
		{"a URL", strings.Replace(dsn, server.Password(), wrong, 1), "", "another", empty, "check the user and the password of the connection string"},
		{"the query of a URL", bare + "&password=" + wrong, "", "another", empty, "check the user and the password of the connection string"},
		{"keywords", words + " password=" + wrong, "", "another", passfile, "check the user and the password of the connection string"},
		{"PGPASSWORD", bare, "", wrong, passfile, "check the password in PGPASSWORD, and the user of the connection string"},
		{"PGPASSWORD, with keywords", words, "", wrong, passfile, "check the password in PGPASSWORD, and the user of the connection string"},
		{"PGPASSFILE", bare, "", "", passfile, "check the password in the file of PGPASSFILE, ~/.pgpass or pg_service.conf, and the user of the connection string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PGPASSWORD", c.variable)
			t.Setenv("PGPASSFILE", c.passfile)
			e := New(placeOf(t, c.dsn, "").WithPasswordFile(c.file), true, zap.NewNop())
			d := &database{engine: e, pools: e.connect()}
			defer d.Close()
			_, opening := e.Open(t.Context(), creating)
			for what, err := range map[string]error{"opening": opening, "a connection of a pool": d.reader.PingContext(t.Context())} {
				if err == nil {
					t.Fatalf("%s: no error", what)
				}
				text := e.Advise(err).Error()
				if !strings.HasSuffix(text, "(SQLSTATE 28P01): "+c.want) || strings.Contains(text, wrong) || strings.Contains(text, "gateway") || !e.Refused(err) {
					t.Errorf("%s: %q, want %q", what, text, c.want)
				}
			}
		})
	}
}

// The password of the direct connection is that of its own connection string.
func TestOpen_NamesTheSourceOfADirectPassword(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	e := New(placeOf(t, dsn, strings.Replace(dsn, server.Password(), "wrong-pa55", 1)), true, zap.NewNop())
	_, err := e.Open(t.Context(), creating)
	if err == nil || !strings.HasPrefix(err.Error(), "the direct connection: ") || !strings.HasSuffix(err.Error(), ": check the user and the password of the connection string") {
		t.Errorf("%v, want the connection string", err)
	}
}

// A role without the right to log in has the right password.
func TestOpen_SaysThatTheRoleMayNotLogIn(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	admin, err := pgx.Connect(t.Context(), server.AdminDSN(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	if _, err := admin.Exec(t.Context(), `DROP ROLE IF EXISTS closed; CREATE ROLE closed NOLOGIN PASSWORD '`+server.Password()+`'`); err != nil {
		t.Fatal(err)
	}
	_, err = New(placeOf(t, strings.Replace(dsn, "gateway", "closed", 1), ""), true, zap.NewNop()).Open(t.Context(), creating)
	const want = `FATAL: role "…" is not permitted to log in (SQLSTATE 28000): let the role log in with ALTER ROLE ... LOGIN, or name another user in the connection string`
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}
