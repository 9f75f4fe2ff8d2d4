package caddymodule_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// The examples, and the configurations of the README, are without mistakes.
func TestMistakes_NoFalseAlarms(t *testing.T) {
	examples, err := filepath.Glob("../docs/examples/*.caddyfile")
	if err != nil || len(examples) < 3 {
		t.Fatalf("%d examples, %v", len(examples), err)
	}
	for _, path := range append(examples, "../Caddyfile.example") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			checkWarnings(t, warningsOf(t, string(text)), nil)
		})
	}
	t.Run("README", func(t *testing.T) {
		text, err := os.ReadFile("../README.md")
		if err != nil {
			t.Fatal(err)
		}
		_, config, _ := strings.Cut(string(text), "holds the vendor's key.\n")
		config, _, ok := strings.Cut(config, "\n\nThe `log` block masks keys")
		if !ok {
			t.Fatal("the README's configuration is not where it was")
		}
		checkWarnings(t, warningsOf(t, config), nil)
	})
}

// The configurations of the pages are without mistakes. A page need not repeat the filter of the log.
func TestMistakes_NoFalseAlarmsInThePages(t *testing.T) {
	t.Setenv("SPEECHGATE_PEPPER", "0123456789abcdef0123456789abcdef")
	t.Setenv("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	elsewhere := strings.NewReplacer("/var/lib/speechgate/", t.TempDir()+"/", "must_exist", "create") // there is no keystore
	examined := 0
	err := filepath.WalkDir("../docs", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		page, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, block := range strings.Split(string(page), "\n```caddyfile\n")[1:] {
			config, _, _ := strings.Cut(block, "```\n")
			config = elsewhere.Replace(config)
			switch options, ok := strings.CutPrefix(config, "{\n"); {
			case strings.Contains(config, "format filter"):
			case ok:
				config = "{\n" + logged + options
			default:
				config = "{\n" + logged + "}\n" + config
			}
			examined++
			t.Run(filepath.Base(path), func(t *testing.T) {
				if strings.Contains(config, "keystore postgres") {
					config = inDatabase(t, config)
				}
				checkWarnings(t, warningsOf(t, config), nil)
			})
		}
		return nil
	})
	if err != nil || examined < 10 {
		t.Errorf("%d configurations, %v", examined, err)
	}
}

// inDatabase puts an empty database in the place of that of a page, and its password in that of the
// page's file.
func inDatabase(t *testing.T, config string) string {
	t.Helper()
	server := postgrestest.Start(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(server.Password()), 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		"postgres://speechgate_serve@db.example.com/speechgate", strings.Replace(server.NewDatabase(t), ":"+server.Password()+"@", "@", 1),
		"/run/secrets/speechgate-database", password,
	).Replace(config)
}

// What docs/neighbours.md says to write is without mistakes.
func TestMistakes_NoFalseAlarmsBesideOtherDirectives(t *testing.T) {
	const (
		gateAndProxy = "\n " + swaps + " reverse_proxy engine:8080"
		trusting     = "servers {\n trusted_proxies static 10.0.0.1/32\n trusted_proxies_strict\n }"
		password     = "basic_auth {\n a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n"
	)
	for row, test := range map[string]struct{ options, top, site string }{
		"cache":                    {options: "order cache after speechgate", site: "cache" + gateAndProxy},
		"rate_limit":               {options: "order rate_limit after speechgate", site: "rate_limit {speechgate.key_id}" + gateAndProxy},
		"rate_limit of guesses":    {site: "route {\n rate_limit {client_ip}" + gateAndProxy + "\n }"},
		"coraza_waf":               {options: "order coraza_waf before speechgate", site: "coraza_waf" + gateAndProxy},
		"coraza_waf, live streams": {site: "route {\n @requests not path /v1/ /v1/nolog/\n coraza_waf @requests" + gateAndProxy + "\n }"},
		"encode":                   {options: "order encode before speechgate", site: "encode" + gateAndProxy},
		"forward_auth":             {options: "order forward_auth before speechgate", site: "forward_auth auth:8080 {\n uri /check\n }" + gateAndProxy},
		"basic_auth":               {site: "handle /panel* {\n " + password + " respond panel\n }\n handle {" + gateAndProxy + "\n }"},
		"request_header":           {site: "route {\n @named header X-Api-Key *\n request_header @named Authorization \"Bearer {header.X-Api-Key}\"\n request_header -X-Api-Key" + gateAndProxy + "\n }"},
		"vars":                     {options: "order vars after speechgate", site: "vars tenant {speechgate.account_id}\n request_header X-Tenant {vars.tenant}" + gateAndProxy},
		"intercept":                {options: "order intercept before speechgate", site: "intercept {\n @refused status 401\n handle_response @refused {\n header -Content-Length\n respond no 401\n }\n }" + gateAndProxy},
		"handle_path":              {site: "handle_path /asr/* {" + gateAndProxy + "\n }"},
		"respond":                  {site: "handle /healthz {\n respond OK\n }\n handle {" + gateAndProxy + "\n }"},
		"metrics":                  {site: "handle /metrics {\n metrics\n }\n handle {" + gateAndProxy + "\n }"},
		"invoke":                   {top: "&(api) {\n route {" + gateAndProxy + "\n }\n}\n", site: "invoke api"},
		"handle_response":          {site: swaps + " reverse_proxy engine:8080 {\n @good status 200\n handle_response @good {\n copy_response\n }\n }"},
		"request_body":             {site: "request_body {\n max_size 1KB\n }" + gateAndProxy},
		"uri":                      {site: "uri strip_prefix /asr" + gateAndProxy},
		"map":                      {site: "map {speechgate.account_id} {tenant} {\n ~.+ ${0}\n default none\n }\n request_header X-Tenant {tenant}" + gateAndProxy},
		"templates":                {site: "templates" + gateAndProxy},
		"tracing":                  {site: "tracing {\n span gate\n }" + gateAndProxy},
		"header, log_append":       {site: "header X-A a\n log_append account {speechgate.account_id}" + gateAndProxy},
		"a console": {
			options: trusting,
			site:    "speechgate_health\n speechgate_console" + gateAndProxy,
		},
		"a console for some addresses": {
			options: trusting,
			site:    "@inside remote_ip 192.0.2.0/24\n handle @inside {\n speechgate_console\n }\n handle {" + gateAndProxy + "\n }",
		},
		"a site with a console": {
			top:  "console.example {\n tls internal\n @inside remote_ip 192.0.2.0/24\n handle @inside {\n speechgate_console / {\n api_url https://asr.example\n }\n }\n}\n",
			site: gateAndProxy,
		},
		"events": {
			options: "events {\n on speechgate.refused speechgate_webhook https://hooks.example/ {\n secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n }\n }",
			site:    gateAndProxy,
		},
		"a second site with a gate": {top: ":81 {" + gateAndProxy + "\n }\n", site: gateAndProxy},
	} {
		t.Run(row, func(t *testing.T) {
			checkWarnings(t, warningsOf(t, "{\n"+logged+test.options+"\n}\n"+test.top+":80 {\n"+test.site+"\n}\n"), nil)
		})
	}
}
