package postgres

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// secretText is in every password of these tests, and in no other part of a connection string.
const secretText = "pa55Zq7Xw"

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ dsn, name, host, user, password, database string }{
		{"postgres://gateway:pa55Zq7Xw@db.example.com/speechgate", "postgres://db.example.com/speechgate", "db.example.com", "gateway", secretText, "speechgate"},
		{"postgresql://gateway@db.example.com:5433/speechgate", "postgres://db.example.com:5433/speechgate", "db.example.com", "gateway", "", "speechgate"},
		{"postgres://gateway@[2001:db8::1]/k", "postgres://[2001:db8::1]/k", "2001:db8::1", "gateway", "", "k"},
		{"postgres://gateway@[2001:db8::1]:5433/k", "postgres://[2001:db8::1]:5433/k", "2001:db8::1", "gateway", "", "k"},
		{"postgres://gateway@one.example.com,two.example.com/k?target_session_attrs=read-write", "postgres://one.example.com/k", "one.example.com", "gateway", "", "k"},
		{"host=db.example.com user=gateway password=pa55Zq7Xw dbname=speechgate", "postgres://db.example.com/speechgate", "db.example.com", "gateway", secretText, "speechgate"},
		{"host=/run/postgresql dbname=k user=gateway", "postgres:/run/postgresql/k", "/run/postgresql", "gateway", "", "k"},
		{"postgres://gateway@/k?host=/run/postgresql", "postgres:/run/postgresql/k", "/run/postgresql", "gateway", "", "k"},

		// Special characters of a password.
		{"postgres://gateway:pa55Zq7Xw%40%2F%3F%25@db.example.com/k", "postgres://db.example.com/k", "db.example.com", "gateway", secretText + "@/?%", "k"},
		{"postgres://gateway:pa55Zq7Xw?#:=&@db.example.com/k", "postgres://db.example.com/k", "db.example.com", "gateway", secretText + "?#:=&", "k"},
		{`host=db.example.com user=gateway password='pa55Zq7Xw @/\'\\' dbname=k`, "postgres://db.example.com/k", "db.example.com", "gateway", secretText + ` @/'\`, "k"},
		{"host=db.example.com user=gateway password=pa55Zq7Xw://sslmode dbname=k", "postgres://db.example.com/k", "db.example.com", "gateway", secretText + "://sslmode", "k"},
	} {
		place, err := ParsePlace(c.dsn, "")
		if err != nil {
			t.Errorf("%s: %v", c.dsn, err)
			continue
		}
		cfg := place.pooled
		if place.String() != c.name || cfg.Host != c.host || cfg.User != c.user || cfg.Password != c.password || cfg.Database != c.database {
			t.Errorf("%s: %s, with host %q, user %q, password %q, database %q", c.dsn, place, cfg.Host, cfg.User, cfg.Password, cfg.Database)
		}
		if cfg.ConnectTimeout != connectTimeout || cfg.RuntimeParams["application_name"] != "speechgate" {
			t.Errorf("%s: it connects for up to %s, as %q", c.dsn, cfg.ConnectTimeout, cfg.RuntimeParams["application_name"])
		}
	}
}

func TestParsePlace_SettingsOfTheConnectionStringCount(t *testing.T) {
	t.Parallel()
	place, err := ParsePlace("postgres://gateway@db.example.com/k?connect_timeout=7&application_name=north&search_path=own", "")
	if err != nil {
		t.Fatal(err)
	}
	if cfg := place.pooled; cfg.ConnectTimeout.Seconds() != 7 || cfg.RuntimeParams["application_name"] != "north" || cfg.RuntimeParams["search_path"] != "own" {
		t.Errorf("it connects for up to %s, with %v", cfg.ConnectTimeout, cfg.RuntimeParams)
	}
}

func TestParsePlace_Direct(t *testing.T) {
	t.Parallel()
	place, err := ParsePlace("postgres://gateway@pooler.example.com:6432/k", "postgres://gateway@db.example.com/k")
	if err != nil || place.pooled.Host != "pooler.example.com" || place.direct.Host != "db.example.com" {
		t.Errorf("%+v, %v", place, err)
	}
	if place.String() != "postgres://pooler.example.com:6432/k" {
		t.Errorf("its name is %s", place)
	}
	_, err = ParsePlace("postgres://gateway@db.example.com/k", "postgres://gateway:pa55Zq7Xw@db.example.com:port/k")
	if err == nil || !strings.HasPrefix(err.Error(), "the direct connection: ") || strings.Contains(err.Error(), secretText) {
		t.Errorf("%v, want an error about the direct connection", err)
	}
}

func TestParsePlace_Refuses(t *testing.T) {
	t.Parallel()
	const special = "each special character of a password"
	for _, c := range []struct{ dsn, want string }{
		{"", "empty"},
		{" \t", "empty"},
		{"postgres://gateway:pa55Zq7Xw@db.example.com", "without a database"},
		{"postgres://gateway:pa55Zq7Xw@db.example.com/", "without a database"},
		{"host=db.example.com password=pa55Zq7Xw", "without a database"},
		{"mysql://gateway:pa55Zq7Xw@db.example.com/k", "invalid keyword/value"},
		{"pa55Zq7Xw", "invalid keyword/value"},
		{"host=db.example.com dbname=k password='pa55Zq7Xw", "unterminated quoted string"},
		{"host=db.example.com dbname=k password=a pa55Zq7Xw sslmode=require", "cannot be read"},
		{"postgres://gateway@db.example.com/k?sslrootcert=/does/not/exist&sslmode=verify-full&sslpassword=pa55Zq7Xw", "/does/not/exist: no such file or directory"},
		{"postgres://gateway:pa55Zq7Xw@db.example.com/k?sslmode=maybe", "sslmode is invalid"},
		{"postgres://gateway:pa55Zq7Xw@db.example.com/k?connect_timeout=soon", "cannot be read"},
		{"postgres://gateway:pa55Zq7Xw@db.example.com/k\x00", "forbidden NUL byte"},

		// Passwords with special characters as they are. A part of such a password could be taken for the
		// host or the database, and be shown.
		{"postgres://gateway:a@pa55Zq7Xw@db.example.com/k", special},
		{"postgres://gateway:a/pa55Zq7Xw@db.example.com/k", special},
		{"postgres://gateway:12/pa55Zq7Xw@db.example.com/k", special},
		{"postgres://gateway:12?x/pa55Zq7Xw@db.example.com/k", special},
		{"postgres://gateway:pa55Zq7Xw%zz@db.example.com/k", "invalid percent-encoded token in password"},
		{"postgres://gateway:%zzpa55Zq7Xw/k", "cannot be read"},
		{"postgres://gateway:@pa55Zq7Xw/x@db.example.com/k", special},
	} {
		place, err := ParsePlace(c.dsn, "")
		if err == nil {
			t.Errorf("%q is accepted, as %s", c.dsn, place)
			continue
		}
		if text := err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, secretText) {
			t.Errorf("%q: %q, want %q, and no password", c.dsn, text, c.want)
		}
	}
}

// A connection to another machine checks the server's certificate, unless the connection string asks for
// another mode.
func TestParsePlace_ChecksTheCertificateOfAnotherMachine(t *testing.T) {
	t.Parallel()
	const (
		plain     = "without TLS"
		unchecked = "with a certificate that is not checked"
		checked   = "with a checked certificate"
	)
	for _, c := range []struct{ dsn, want string }{
		{"postgres://gateway@db.example.com/k", checked},
		{"postgres://gateway@db.example.com/k?connect_timeout=3", checked},
		{"postgres://gateway@192.0.2.1/k", checked},
		{"postgres://gateway@[2001:db8::1]:5433/k", checked},
		{"host=db.example.com dbname=k", checked},
		{"postgres://gateway@db.example.com/k?sslmode=verify-full", checked},
		{"postgres://gateway@db.example.com/k?sslmode=prefer", checked},
		{"postgres://gateway@db.example.com/k?sslmode=disable", plain},
		{"postgres://gateway@db.example.com/k?sslmode=allow", plain},
		{"postgres://gateway@db.example.com/k?sslmode=require", unchecked},
		{"postgres://gateway@db.example.com/k?ssl=true", unchecked},
		{"host=db.example.com dbname=k sslmode=require", unchecked},
		{"host=db.example.com dbname=k sslmode=disable", plain},

		// The word is in another place.
		{"postgres://gateway@db.example.com/sslmode", checked},
		{"postgres://gateway:sslmode=disable@db.example.com/k", checked},
		{"postgres://gateway:a?sslmode=disable&@db.example.com/k", checked},
		{"postgres://gateway:a?b@db.example.com/k", checked},
		{"postgres://gateway@db.example.com/k#x", checked},
		{"host=db.example.com dbname=k password=sslmode=disable", checked},
		{"host=db.example.com password=a://b?c dbname=k", checked},
		{"host=db.example.com dbname=k password='x sslmode=disable'", checked},

		// Some of several hosts.
		{"postgres://gateway@localhost,db.example.com/k", checked},
		{"host=/run/postgresql,db.example.com dbname=k", checked},

		// This machine.
		{"postgres://gateway@127.0.0.1/k", plain},
		{"postgres://gateway@[::1]/k", plain},
		{"postgres://gateway@localhost/k", plain},
		{"host=/run/postgresql dbname=k", plain},
	} {
		place, err := ParsePlace(c.dsn, "")
		if err != nil {
			t.Errorf("%s: %v", c.dsn, err)
			continue
		}
		cfg := place.pooled
		got := checked
		for _, way := range append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...) {
			switch {
			case strings.HasPrefix(way.Host, "/"):
				if cfg.Host != way.Host || len(cfg.Fallbacks) > 0 {
					continue // a socket beside other hosts
				}
				got = plain
			case way.TLSConfig == nil:
				got = plain
			case way.TLSConfig.InsecureSkipVerify && got != plain:
				got = unchecked
			case !way.TLSConfig.InsecureSkipVerify && way.TLSConfig.ServerName != way.Host:
				t.Errorf("%s: the certificate of %s is checked for the name %q", c.dsn, way.Host, way.TLSConfig.ServerName)
			}
		}
		if got != c.want {
			t.Errorf("%s connects %s, want %s", c.dsn, got, c.want)
		}
		if name := place.String(); strings.Contains(name, "sslmode=") {
			t.Errorf("%s: its name is %s", c.dsn, name)
		}
	}
}

// No error and no name shows a password, whatever characters it has, and however wrong the rest of the
// connection string is. A password that is written as it must be is read as it is.
func FuzzParsePlace(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"a@", "/k?"},
		{"12/", ""},
		{"%zz", "%"},
		{"'", "' dbname=k"},
		{" password=", " host=h"},
		{`\`, "\x00"},
		{"postgres://u:", "@h/k"},
		{"@h:1/k?host=", "&dbname=x"},
		{"[::1", "]"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		password := before + secretText + after
		for _, dsn := range []string{
			password,
			"postgres://" + password,
			"postgres://gateway:" + password + "@db.example.com/speechgate",
			"host=db.example.com password=" + password + " dbname=speechgate",
		} {
			if _, err := ParsePlace(dsn, ""); err != nil && strings.Contains(err.Error(), secretText) {
				t.Errorf("%q: the error %q shows the password", dsn, err)
			}
		}
		if place, err := ParsePlace("postgres://gateway:"+password+"@db.example.com/speechgate", ""); err == nil && strings.Contains(place.String(), secretText) {
			t.Errorf("the name %q shows the password %q", place, password)
		}
		quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
		for _, dsn := range []string{
			"postgres://gateway:" + strings.ReplaceAll(url.QueryEscape(password), "+", "%20") + "@db.example.com/speechgate",
			"host=db.example.com user=gateway password=" + quoted + " dbname=speechgate",
		} {
			place, err := ParsePlace(dsn, "")
			switch {
			case strings.ContainsRune(password, 0):
				if err == nil {
					t.Errorf("%q with a zero byte is accepted", dsn)
				}
			case err != nil:
				t.Errorf("%q: %v", dsn, err)
			case place.pooled.Password != password:
				t.Errorf("%q: the password is %q, want %q", dsn, place.pooled.Password, password)
			case place.String() != "postgres://db.example.com/speechgate":
				t.Errorf("%q: its name is %s", dsn, place)
			}
		}
	})
}
