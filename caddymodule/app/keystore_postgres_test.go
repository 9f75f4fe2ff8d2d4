package app

import (
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// JSON can have combinations that a Caddyfile cannot.
func TestKeystoreConfig_RefusesOptionsOfTheOtherEngine(t *testing.T) {
	t.Parallel()
	const dsn = "postgres://gateway:canary@db.example.com/keys"
	for name, test := range map[string]struct {
		option KeystoreConfig
		want   string
	}{
		"a connection string without an engine":    {KeystoreConfig{DSN: dsn}, "keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres"},
		"a connection string of SQLite":            {KeystoreConfig{Engine: "sqlite", Path: "/k.db", DSN: dsn}, "keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres"},
		"a direct connection of SQLite":            {KeystoreConfig{Path: "/k.db", Direct: dsn}, "keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres"},
		"a replica of SQLite":                      {KeystoreConfig{Path: "/k.db", Replica: "/canary"}, "keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres"},
		"jobs that are admitted by SQLite":         {KeystoreConfig{Path: "/k.db", AdmitJobs: true}, "keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres"},
		"jobs that are admitted without a replica": {KeystoreConfig{Engine: "postgres", DSN: dsn, AdmitJobs: true}, "keystore postgres: admit_jobs needs replica: want the directory in which new jobs wait"},
		"a relative replica":                       {KeystoreConfig{Engine: "postgres", DSN: dsn, Replica: "replica"}, `keystore postgres: replica "replica": want the whole path of a directory`},
		"a replica in the home directory":          {KeystoreConfig{Engine: "postgres", DSN: dsn, Replica: "~/replica"}, "keystore postgres: replica: ~ is not expanded here: want the whole path, or {env.HOME}/replica"},
		"a password of SQLite":                     {KeystoreConfig{Path: "/k.db", PasswordFile: "/canary"}, "keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres"},
		"a path of PostgreSQL":                     {KeystoreConfig{Engine: "postgres", Path: dsn, DSN: dsn}, "keystore postgres: the path of a file is for sqlite"},
		"PostgreSQL without a connection string":   {KeystoreConfig{Engine: "postgres"}, "keystore postgres: there is no connection string"},
		"an unknown engine":                        {KeystoreConfig{Engine: "mysql", DSN: dsn}, `keystore engine "mysql": want sqlite or postgres`},
		"a connection string as the engine":        {KeystoreConfig{Engine: dsn}, "keystore engine: want sqlite or postgres"},
		"create and must_exist":                    {KeystoreConfig{Engine: "postgres", DSN: dsn, Create: true, MustExist: true}, "create and must_exist contradict each other"},
		"an empty password file":                   {KeystoreConfig{Engine: "postgres", DSN: dsn, PasswordFile: "$CANARY"}, "keystore postgres: password_file: $CANARY is not expanded here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cfg keystore.Config
			err := test.option.place(&cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestKeystoreConfig_ResolvesPlaceholdersOfAConnectionString(t *testing.T) {
	t.Setenv("SPEECHGATE_TEST_PASSWORD", "ca%40nary")
	t.Setenv("SPEECHGATE_TEST_DIR", "/run/secrets")
	option := KeystoreConfig{
		Engine: "postgres", DSN: "postgres://gateway:{env.SPEECHGATE_TEST_PASSWORD}@db.example.com:6432/keys",
		Direct: "host=db.example.com dbname=keys password={env.SPEECHGATE_TEST_PASSWORD}", PasswordFile: "{env.SPEECHGATE_TEST_DIR}/database",
	}
	var cfg keystore.Config
	if err := option.place(&cfg); err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Postgres.DSN.Reveal(), "postgres://gateway:ca%40nary@db.example.com:6432/keys"; got != want {
		t.Errorf("the connection string is %s, want %s", got, want)
	}
	if got, want := cfg.Postgres.Direct.Reveal(), "host=db.example.com dbname=keys password=ca%40nary"; got != want {
		t.Errorf("the direct connection is %s, want %s", got, want)
	}
	if got, want := cfg.Postgres.PasswordFile, "/run/secrets/database"; got != want {
		t.Errorf("the password file is %s, want %s", got, want)
	}
	if name, err := cfg.Name(); err != nil || name != "postgres://db.example.com:6432/keys" {
		t.Errorf("the name is %q, %v", name, err)
	}
	if option.ShowsPassword() {
		t.Error("a placeholder counts as a password in the configuration")
	}
}

func TestKeystoreConfig_FindsAPasswordInTheConfiguration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"postgres://gateway:canary@db/keys":               true,
		"postgres://gateway:can%40ary@db/keys":            true,
		"postgres://db/keys?user=gateway&password=canary": true,
		"host=db dbname=keys password=canary":             true,
		"host=db dbname=keys Password = 'canary two'":     true,
		"postgres://gateway:{env.PASSWORD}@db:5432/keys":  false,
		"postgres://db/keys?password={env.PASSWORD}":      false,
		"host=db password='{env.PASSWORD}' dbname=keys":   false,
		"postgres://gateway@db:5432/keys":                 false,
		"postgres://db:5432/keys?application_name=a@b":    false,
		"postgres://[2001:db8::1]:5432/keys":              false,
		"host=db dbname=keys passfile=/run/pgpass":        false,
		"{env.SPEECHGATE_DSN}":                            false,
	} {
		if got := (&KeystoreConfig{DSN: text}).ShowsPassword(); got != want {
			t.Errorf("%s: a password is found: %t, want %t", text, got, want)
		}
		if got := (&KeystoreConfig{DSN: "{env.DSN}", Direct: text}).ShowsPassword(); got != want {
			t.Errorf("direct %s: a password is found: %t, want %t", text, got, want)
		}
	}
}

func TestPaths_AreNoConnectionStringsAndShowNone(t *testing.T) {
	t.Parallel()
	for text, isPath := range map[string]bool{
		"/var/lib/speechgate/keystore.db":                  true,
		"/run/secrets/speechgate-password":                 true,
		"keys@home.db":                                     true,
		"/srv/a=b/keystore.db":                             true,
		"postgresql-keys.db":                               true,
		"postgres:/gateway:canary@db/keys":                 false,
		"postgres:gateway:canary@db/keys":                  false,
		"Postgres://gateway:canary@db/keys":                false,
		"mysql://gateway:can/ary@db/keys":                  false,
		"host=db dbname=keys password=canary":              false,
		" HOST = db user=canary":                           false,
		"dbname=keys user=canary":                          false,
		"passfile=/canary dbname=keys":                     false,
		"host=db dbname=keys password=can$canary/":         false,
		"host=db dbname=keys password=%canary% host=other": false,
		"db.example.com/keys?Password=canary":              false,
		"jdbc:postgresql://db/keys?PASSWORD=canary":        false,
	} {
		if got := QuotePath(text); (got == `"`+text+`"`) != isPath || strings.Contains(got, "canary") {
			t.Errorf("%s is quoted as %s", text, got)
		}
		for check, err := range map[string]error{
			"CheckFilePath":                    CheckFilePath(text),
			"CheckPathSpelling in a shell":     CheckPathSpelling(text, ShellVariable),
			"CheckPathSpelling in a Caddyfile": CheckPathSpelling(text, "{env.%s}"),
		} {
			if (err == nil) != isPath || err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%s of %s: %v", check, text, err)
			}
		}
	}
}

// Configurations share an open store only if every setting of the store is the same.
func TestStoreKey_TellsSettingsApart(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	base := func() *keystore.Config {
		return &keystore.Config{Postgres: &keystore.Postgres{DSN: policy.NewSecret("a"), Direct: policy.NewSecret("b"), PasswordFile: "c"}, Pepper: policy.NewSecret("d")}
	}
	seen := make(map[string]string)
	for name, change := range map[string]func(*keystore.Config){
		"nothing": func(*keystore.Config) {},
		"dsn":     func(c *keystore.Config) { c.Postgres.DSN = policy.NewSecret(canary) },
		"direct":  func(c *keystore.Config) { c.Postgres.Direct = policy.NewSecret(canary) },
		"dsn within direct": func(c *keystore.Config) {
			c.Postgres.DSN, c.Postgres.Direct = policy.NewSecret(`a" "b`), policy.Secret{}
		},
		"replica":            func(c *keystore.Config) { c.Postgres.Replica = canary },
		"admitted jobs":      func(c *keystore.Config) { c.Postgres.AdmitJobs = true },
		"password file":      func(c *keystore.Config) { c.Postgres.PasswordFile = canary },
		"pepper":             func(c *keystore.Config) { c.Pepper = policy.NewSecret(canary) },
		"staleness":          func(c *keystore.Config) { c.MaxStaleness = time.Minute },
		"retention":          func(c *keystore.Config) { c.Retention = time.Hour },
		"size of the cache":  func(c *keystore.Config) { c.CacheBytes = keystore.MinCacheBytes },
		"a file of the same": func(c *keystore.Config) { c.Postgres = nil },
	} {
		cfg := base()
		change(cfg)
		key := storeKey("name", cfg, false)
		if seen[key] != "" {
			t.Errorf("%s and %s have the same key", name, seen[key])
		}
		seen[key] = name
		if strings.Contains(key, canary) {
			t.Errorf("%s: the key shows a secret: %s", name, key)
		}
		if again := storeKey("name", cfg, false); again != key || storeKey("name", cfg, true) == key || storeKey("other", cfg, false) == key {
			t.Errorf("%s: the key depends on something else, or not on create or the name", name)
		}
	}
}
