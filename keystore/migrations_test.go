package keystore

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// firstChecked is the first version whose migrations follow the rules of CONTRIBUTING.md: gateways of
// the version before go on meanwhile.
const firstChecked = 21

var (
	saysCompatible = regexp.MustCompile(`^INSERT INTO meta \(name, value\) VALUES \('compatible', '(\d+)'\) ON CONFLICT \(name\) DO UPDATE SET value = excluded\.value$`)
	wakesAll       = regexp.MustCompile(`^INSERT INTO feed \(at, kind, ref\) VALUES \(0, 'store', ''\)$`)
	newTable       = regexp.MustCompile(`^CREATE TABLE (\w+)`)
	refersTo       = regexp.MustCompile(`REFERENCES \w+ \(\w+\)( ON DELETE (CASCADE|SET NULL))?`)
	newIndex       = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX (CONCURRENTLY )?(\w+) ON (\w+)`)
	oldIndex       = regexp.MustCompile(`^DROP INDEX CONCURRENTLY IF EXISTS (\w+)$`)
	newColumn      = regexp.MustCompile(`^ALTER TABLE \w+ ADD COLUMN \w+ (.*)$`)
	constant       = regexp.MustCompile(`DEFAULT (\d+|'[^']*'|TRUE|FALSE|x'')( |$)`)
	insertsInto    = regexp.MustCompile(`^INSERT INTO (\w+)`)
)

// statementsOf returns the statements of a migration, without comments. A body of a function or a
// trigger belongs to its statement.
func statementsOf(text string) (statements []string) {
	var now strings.Builder
	whole := false // between StatementBegin and StatementEnd
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		whole = whole && line != "-- +goose StatementEnd" || line == "-- +goose StatementBegin"
		line, _, _ = strings.Cut(line, "--")
		now.WriteString(" " + strings.TrimSpace(line))
		if strings.HasSuffix(strings.TrimSpace(line), ";") && !whole {
			statements = append(statements, strings.TrimSuffix(strings.Join(strings.Fields(now.String()), " "), ";"))
			now.Reset()
		}
	}
	return statements
}

// checkMigration returns what breaks a rule in the migration to a version. before is the oldest
// version of programs that worked with the tables before it, and after the one since then.
func checkMigration(postgres bool, version, before int, text string) (after int, faults []string) {
	after = before
	fault := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }
	statements := statementsOf(text)
	contracts := false
	for _, s := range statements {
		if said := saysCompatible.FindStringSubmatch(s); said != nil {
			contracts = true
			after, _ = strconv.Atoi(said[1])
		}
	}
	alone := strings.Contains(text, "-- +goose NO TRANSACTION")
	if alone && !postgres {
		fault("NO TRANSACTION: SQLite needs none")
	}
	if contracts {
		switch {
		case after <= before || after >= version:
			fault("compatible with %d: want more than %d, and less than %d, because the version before goes on", after, before, version)
		case alone:
			fault("it changes what old programs need without a transaction")
		case !slices.ContainsFunc(statements, wakesAll.MatchString):
			fault("no entry of the change feed wakes the programs that must stop")
		}
		return after, faults
	}
	var made, dropped []string
	for _, s := range statements {
		made = appendMatch(made, newTable, s)
		dropped = appendMatch(dropped, oldIndex, s)
		index, column, into := newIndex.FindStringSubmatch(s), newColumn.FindStringSubmatch(s), insertsInto.FindStringSubmatch(s)
		switch {
		case alone && (index == nil || index[2] == "" || !slices.Contains(dropped, index[3])) && !oldIndex.MatchString(s):
			fault("without a transaction, and cannot be repeated: %s", s)
		case newTable.MatchString(s):
			for _, r := range refersTo.FindAllStringSubmatch(s, -1) {
				if r[1] == "" {
					fault("an old program could delete no row any more to which another refers: %s", r[0])
				}
			}
		case index != nil && slices.Contains(made, index[4]), alone:
		case index != nil && index[1] != "":
			fault("old programs may insert what is not unique: %s", s)
		case index != nil && postgres:
			fault("nobody can write until the index is made: %s", s)
		case index != nil:
		case column != nil:
			if strings.Contains(column[1], "NOT NULL") && !constant.MatchString(column[1]) {
				fault("old programs insert no value: %s", s)
			}
			for _, word := range []string{"REFERENCES", "UNIQUE", "CHECK", "PRIMARY", "GENERATED", "("} {
				if strings.Contains(column[1], word) {
					fault("%s in a new column: %s", word, s)
				}
			}
		case into != nil && (slices.Contains(made, into[1]) || into[1] == "meta"):
		case strings.HasPrefix(s, "CREATE FUNCTION "), strings.HasPrefix(s, "CREATE TRIGGER "):
		default:
			fault("old programs may need what it changes, or wait for it: %s", s)
		}
	}
	return after, faults
}

func appendMatch(names []string, pattern *regexp.Regexp, s string) []string {
	if m := pattern.FindStringSubmatch(s); m != nil {
		names = append(names, m[1])
	}
	return names
}

// Gateways of the version before go on while a migration runs, and after it.
func TestMigrations_LetTheVersionBeforeGoOn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sqlite", "postgres"} {
		files, err := filepath.Glob("internal/" + name + "/migrations/*.sql")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d migrations, %v", name, len(files), err)
		}
		slices.Sort(files)
		compatible := 0
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			version, err := strconv.Atoi(filepath.Base(file)[:5])
			if err != nil {
				t.Fatal(err)
			}
			after, faults := checkMigration(name == "postgres", version, compatible, string(text))
			if version >= firstChecked {
				for _, f := range faults {
					t.Errorf("%s: %s", file, f)
				}
			}
			compatible = after
		}
		if compatible != engine.Compatible {
			t.Errorf("%s: the tables say that they work with version %d, and engine.Compatible is %d", name, compatible, engine.Compatible)
		}
	}
}

func TestMigrations_RulesFindWhatStopsTheVersionBefore(t *testing.T) {
	t.Parallel()
	const compatible = `INSERT INTO meta (name, value) VALUES ('compatible', '%d') ON CONFLICT (name) DO UPDATE SET value = excluded.value;` + "\n"
	const wake = "INSERT INTO feed (at, kind, ref) VALUES (0, 'store', '');\n"
	says := func(version int) string { return fmt.Sprintf(compatible, version) }
	for text, want := range map[string]string{
		"CREATE TABLE a (id TEXT);\nCREATE UNIQUE INDEX b ON a (id);\nINSERT INTO a VALUES ('');":                   "",
		"CREATE TABLE a (\n    id TEXT REFERENCES jobs (id) ON DELETE CASCADE -- a job; or none\n);":                "",
		"CREATE TABLE a (id TEXT REFERENCES jobs (id));":                                                            "could delete no row",
		"ALTER TABLE jobs ADD COLUMN a TEXT;":                                                                       "",
		"ALTER TABLE jobs ADD COLUMN a BIGINT NOT NULL DEFAULT 0;":                                                  "",
		"ALTER TABLE jobs ADD COLUMN a BIGINT NOT NULL;":                                                            "insert no value",
		"ALTER TABLE jobs ADD COLUMN a BIGINT NOT NULL DEFAULT random();":                                           "insert no value",
		"ALTER TABLE jobs ADD COLUMN a BIGINT DEFAULT random();":                                                    "( in a new column",
		"ALTER TABLE jobs ADD COLUMN a TEXT UNIQUE;":                                                                "UNIQUE in a new column",
		"ALTER TABLE jobs ALTER COLUMN state SET NOT NULL;":                                                         "may need",
		"ALTER TABLE jobs ALTER COLUMN state TYPE BIGINT;":                                                          "may need",
		"ALTER TABLE jobs RENAME COLUMN state TO status;":                                                           "may need",
		"ALTER TABLE jobs DROP COLUMN state;":                                                                       "may need",
		"DROP TABLE jobs;":                                                                                          "may need",
		"DROP INDEX jobs_key;":                                                                                      "may need",
		"UPDATE jobs SET state = '';":                                                                               "may need",
		"INSERT INTO jobs (id) VALUES ('');":                                                                        "may need",
		"CREATE INDEX a ON jobs (id);":                                                                              "nobody can write",
		"CREATE UNIQUE INDEX a ON jobs (id);":                                                                       "not unique",
		"-- +goose NO TRANSACTION\nDROP INDEX CONCURRENTLY IF EXISTS a;\nCREATE INDEX CONCURRENTLY a ON jobs (id);": "",
		"-- +goose NO TRANSACTION\nCREATE INDEX CONCURRENTLY a ON jobs (id);":                                       "cannot be repeated",
		"-- +goose NO TRANSACTION\nALTER TABLE jobs ADD COLUMN a TEXT;":                                             "cannot be repeated",
		"-- +goose StatementBegin\nCREATE FUNCTION a() AS $$\nDROP TABLE b;\n$$;\n-- +goose StatementEnd":           "",
		"ALTER TABLE jobs DROP COLUMN state;\n" + says(24) + wake:                                                   "",
		"ALTER TABLE jobs DROP COLUMN state;\n" + says(24):                                                          "wakes",
		says(25) + wake: "the version before goes on",
		says(20) + wake: "the version before goes on",
		"-- +goose NO TRANSACTION\n" + says(24) + wake: "without a transaction",
	} {
		_, faults := checkMigration(true, 25, 20, text)
		if got := strings.Join(faults, "\n"); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s\nfaults: %q, want %q", text, got, want)
		}
	}
	if _, faults := checkMigration(false, 25, 20, "CREATE INDEX a ON jobs (id);"); len(faults) > 0 {
		t.Errorf("an index in SQLite: %v", faults)
	}
	if _, faults := checkMigration(false, 25, 20, "-- +goose NO TRANSACTION\nCREATE INDEX a ON jobs (id);"); len(faults) == 0 {
		t.Error("SQLite without a transaction has no fault")
	}
}
