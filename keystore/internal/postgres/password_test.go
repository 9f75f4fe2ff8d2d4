package postgres

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
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
