package speechgate_test

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const module = "github.com/speechgate/speechgate"

// arrows says what each package may import: of this module, the named packages; of
// other modules, everything except Caddy and database/sql, which need a flag.
var arrows = map[string]struct {
	may   []string
	caddy bool // imports Caddy
	sql   bool // imports database/sql
	std   bool // imports the standard library only
}{
	".":      {may: []string{"caddymodule"}},
	"policy": {may: []string{"internal/phrase"}, std: true},

	"keystore":                      {may: []string{"internal/phrase", "keystore/internal/engine", "keystore/internal/postgres", "keystore/internal/recordcache", "keystore/internal/sqlite", "policy"}, sql: true},
	"keystore/internal/engine":      {std: true, sql: true},
	"keystore/internal/recordcache": {std: true},
	"internal/testutil":             {std: true},
	"keystore/keystoretest":         {may: []string{"keystore", "policy"}},
	"keystore/internal/sqlite":      {may: []string{"keystore/internal/engine"}, sql: true},
	"keystore/internal/postgres":    {may: []string{"keystore/internal/engine", "keystore/internal/sqlite"}, sql: true},

	"dialect": {may: []string{"internal/jsonanswer", "policy"}},

	"internal/jsonanswer":     {std: true},
	"internal/phrase":         {std: true},
	"internal/words":          {may: []string{"internal/phrase", "policy"}},
	"internal/credential":     {may: []string{"dialect", "policy"}},
	"internal/stream":         {may: []string{"dialect", "internal/credential", "internal/stream/wsframe", "policy"}},
	"internal/stream/wsframe": {std: true},
	"internal/issuance":       {may: []string{"dialect", "internal/credential", "internal/share", "internal/throttle", "internal/words", "keystore", "policy"}},
	"internal/share":          {may: []string{"policy"}},
	"internal/throttle":       {may: []string{"internal/share", "policy"}},
	"internal/manage":         {may: []string{"dialect", "internal/issuance", "internal/phrase", "internal/upstreamkey", "internal/words", "keystore", "policy"}},
	"internal/upstreamkey":    {may: []string{"keystore", "policy"}},
	"internal/limits":         {may: []string{"internal/share", "policy"}},
	"internal/chart":          {std: true},
	"internal/refusals":       {may: []string{"policy"}},
	"internal/openid":         {may: []string{"policy"}},
	"internal/signin":         {may: []string{"internal/openid", "internal/share", "internal/throttle", "keystore", "policy"}},
	"internal/console":        {may: []string{"dialect", "internal/chart", "internal/manage", "internal/openid", "internal/phrase", "internal/refusals", "internal/signin", "keystore", "policy"}},
	"internal/headbudget":     {may: []string{"internal/credential"}},
	"internal/drain":          {},
	"internal/audiometer":     {std: true},
	"internal/sandbox":        {std: true},
	"internal/wstest":         {std: true},
	"internal/browsertest":    {may: []string{"internal/testutil"}},
	"internal/postgrestest":   {may: []string{"internal/testutil"}},
	"internal/storetest":      {may: []string{"internal/postgrestest", "keystore", "policy"}, sql: true},
	"internal/netnstest":      {may: []string{"internal/testutil"}},
	"internal/passkeytest":    {std: true},

	"internal/openid/openidtest": {std: true},

	"caddymodule/options":      {may: []string{"internal/words", "policy"}, caddy: true},
	"caddymodule/events":       {may: []string{"internal/words", "policy"}},
	"caddymodule/handler":      {may: []string{"caddymodule/events", "caddymodule/options", "internal/drain", "internal/refusals", "keystore", "policy"}, caddy: true},
	"caddymodule/endpoint":     {may: []string{"caddymodule/options", "dialect"}, caddy: true},
	"caddymodule/livestream":   {may: []string{"internal/share", "policy"}},
	"caddymodule/storemetrics": {may: []string{"internal/upstreamkey", "keystore", "policy"}},
	"caddymodule/configcheck":  {may: []string{"dialect", "policy"}, caddy: true},
	"caddymodule/app": {may: []string{
		"caddymodule/configcheck", "caddymodule/events", "caddymodule/handler", "caddymodule/livestream", "caddymodule/options", "caddymodule/storemetrics",
		"internal/credential", "internal/drain", "internal/headbudget", "internal/limits", "internal/manage", "internal/refusals", "internal/share", "internal/signin", "internal/upstreamkey", "keystore", "policy",
	}, caddy: true},

	"caddymodule/gate": {may: []string{
		"caddymodule/app", "caddymodule/configcheck", "caddymodule/handler", "caddymodule/livestream", "caddymodule/options",
		"dialect", "internal/audiometer", "internal/credential", "internal/headbudget", "internal/issuance", "internal/jsonanswer", "internal/limits", "internal/manage", "internal/stream", "internal/upstreamkey", "internal/words",
		"keystore", "policy",
	}, caddy: true},
	"caddymodule/issue": {may: []string{
		"caddymodule/app", "caddymodule/configcheck", "caddymodule/endpoint", "caddymodule/handler", "caddymodule/options", "internal/credential", "internal/issuance", "policy",
	}, caddy: true},
	"caddymodule/console": {may: []string{
		"caddymodule/app", "caddymodule/configcheck", "caddymodule/endpoint", "caddymodule/handler", "caddymodule/options",
		"caddymodule/livestream", "dialect", "internal/console", "internal/credential", "internal/manage", "internal/openid", "internal/refusals", "keystore", "policy",
	}, caddy: true},
	"caddymodule/health": {may: []string{"caddymodule/app", "caddymodule/endpoint", "caddymodule/handler", "caddymodule/options"}, caddy: true},
	"caddymodule/admin": {may: []string{
		"caddymodule/app", "caddymodule/handler", "caddymodule/livestream", "dialect", "internal/manage", "internal/words", "keystore", "policy",
	}, caddy: true},
	"caddymodule/logfilter":      {may: []string{"caddymodule/app", "caddymodule/configcheck", "caddymodule/options", "dialect", "internal/credential", "internal/issuance", "policy"}, caddy: true},
	"caddymodule/webhook":        {may: []string{"caddymodule/events", "caddymodule/options"}, caddy: true},
	"caddymodule/sandboxbackend": {may: []string{"caddymodule/options", "internal/sandbox", "internal/words", "policy"}, caddy: true},

	"internal/command": {may: []string{
		"caddymodule/admin", "caddymodule/app", "caddymodule/console", "caddymodule/gate", "caddymodule/handler", "caddymodule/issue",
		"dialect", "internal/credential", "internal/doctor", "internal/manage", "internal/words", "keystore", "policy",
	}, caddy: true},
	"internal/doctor": {may: []string{"caddymodule/app", "caddymodule/configcheck", "caddymodule/gate", "caddymodule/handler", "dialect", "internal/upstreamkey", "internal/words", "keystore", "policy"}, caddy: true},
	"internal/demo": {may: []string{
		"caddymodule/app", "caddymodule/issue", "dialect", "internal/command", "internal/sandbox", "internal/words", "keystore", "policy",
	}, caddy: true},

	"caddymodule": {may: []string{
		"caddymodule/admin", "caddymodule/console", "caddymodule/gate", "caddymodule/health", "caddymodule/issue", "caddymodule/logfilter", "caddymodule/sandboxbackend", "caddymodule/webhook",
		"internal/command", "internal/demo",
	}, caddy: true},
	"cmd/caddy":          {may: []string{""}, caddy: true},
	"bench":              {may: []string{"internal/share", "keystore", "policy"}},
	"bench/floor":        {caddy: true},
	"mutants":            {std: true},
	"e2e/neighbours":     {may: []string{""}, caddy: true},
	"e2e/sdk/assemblyai": {},
	"e2e/sdk/deepgram":   {},
	"e2e/sdk/openai":     {},

	"docs/examples/issue-key": {std: true},
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	imports := packageImports(t)
	for dir := range arrows {
		if len(imports[dir]) == 0 && dir != "policy" {
			t.Errorf("package %s has no imports, or is gone: is the table up to date?", dir)
		}
	}
	for dir, paths := range imports {
		rule, known := arrows[dir]
		if !known {
			t.Errorf("package %s has no rule here: say what it may import", dir)
		}
		for _, path := range paths {
			own, inModule := strings.CutPrefix(path, module)
			own = strings.TrimPrefix(own, "/")
			switch {
			case inModule && !slices.Contains(rule.may, own):
				t.Errorf("package %s imports %s, against the direction of the arrows", dir, path)
			case strings.HasPrefix(path, "github.com/caddyserver/caddy") && !rule.caddy:
				t.Errorf("package %s imports %s: the packages below caddymodule, the command line and main packages know Caddy", dir, path)
			case path == "github.com/spf13/cobra" && !rule.caddy:
				t.Errorf("package %s imports %s: only the command line does", dir, path)
			case path == "net/http" && dir == "internal/manage":
				t.Errorf("package %s imports %s: it is for interfaces of every kind", dir, path)
			case path == "database/sql" && !rule.sql:
				t.Errorf("package %s imports database/sql: only keystore and its engines do", dir)
			case rule.std && !inModule && strings.Contains(strings.Split(path, "/")[0], "."):
				t.Errorf("package %s imports %s: it keeps to the standard library", dir, path)
			}
		}
	}
}

// packageImports lists what the code of each package imports, tests aside, by
// the package's directory.
func packageImports(t *testing.T) map[string][]string {
	t.Helper()
	imports := make(map[string][]string)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != "."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[dir] = append(imports[dir], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return imports
}

// xcaddyBuilder is what xcaddy's Builder takes as JSON, as far as it is used.
type xcaddyBuilder struct {
	CaddyVersion string `json:"caddy_version"`
	Cgo          bool   `json:"cgo"`
	Plugins      []struct {
		ModulePath string `json:"module_path"`
		Version    string `json:"version"`
	} `json:"plugins"`
	BuildFlags string `json:"build_flags"`
}

func TestXcaddyBuildsWhatGoModSays(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	var builder xcaddyBuilder
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&builder); err != nil {
		t.Fatal(err)
	}
	modText, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.ParseLax("go.mod", modText, nil)
	if err != nil {
		t.Fatal(err)
	}
	caddy := ""
	for _, require := range mod.Require {
		if require.Mod.Path == "github.com/caddyserver/caddy/v2" {
			caddy = require.Mod.Version
		}
	}
	if builder.CaddyVersion != caddy || caddy == "" {
		t.Errorf("caddy_version is %q, and go.mod requires %q", builder.CaddyVersion, caddy)
	}
	if len(builder.Plugins) != 1 || builder.Plugins[0].ModulePath != mod.Module.Mod.Path || builder.Plugins[0].Version == "" {
		t.Errorf("plugins is %+v, and go.mod's module is %q", builder.Plugins, mod.Module.Mod.Path)
	}
	if !builder.Cgo {
		t.Error("cgo is off: SQLite is C")
	}
	if !strings.Contains(builder.BuildFlags, "-tags=nobadger,nomysql,nopgx") {
		t.Errorf("build_flags %q replace xcaddy's own, and lack its tags", builder.BuildFlags)
	}
}
