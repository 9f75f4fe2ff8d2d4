package caddymodule_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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

// What docs/neighbours.md says to write is without mistakes.
func TestMistakes_NoFalseAlarmsBesideOtherDirectives(t *testing.T) {
	const (
		gateAndProxy = "\n " + swaps + " reverse_proxy engine:8080"
		password     = "basic_auth {\n a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n"
	)
	for row, test := range map[string]struct{ options, top, site string }{
		"cache":                     {options: "order cache after speechgate", site: "cache" + gateAndProxy},
		"rate_limit":                {options: "order rate_limit after speechgate", site: "rate_limit {speechgate.key_id}" + gateAndProxy},
		"rate_limit of guesses":     {site: "route {\n rate_limit {client_ip}" + gateAndProxy + "\n }"},
		"coraza_waf":                {options: "order coraza_waf before speechgate", site: "coraza_waf" + gateAndProxy},
		"coraza_waf, live streams":  {site: "route {\n @requests not path /v1/ /v1/nolog/\n coraza_waf @requests" + gateAndProxy + "\n }"},
		"encode":                    {options: "order encode before speechgate", site: "encode" + gateAndProxy},
		"forward_auth":              {options: "order forward_auth before speechgate", site: "forward_auth auth:8080 {\n uri /check\n }" + gateAndProxy},
		"basic_auth":                {site: "handle /panel* {\n " + password + " respond panel\n }\n handle {" + gateAndProxy + "\n }"},
		"request_header":            {site: "route {\n @named header X-Api-Key *\n request_header @named Authorization \"Bearer {header.X-Api-Key}\"\n request_header -X-Api-Key" + gateAndProxy + "\n }"},
		"vars":                      {options: "order vars after speechgate", site: "vars tenant {speechgate.account_id}\n request_header X-Tenant {vars.tenant}" + gateAndProxy},
		"intercept":                 {options: "order intercept before speechgate", site: "intercept {\n @refused status 401\n handle_response @refused {\n header -Content-Length\n respond no 401\n }\n }" + gateAndProxy},
		"handle_path":               {site: "handle_path /asr/* {" + gateAndProxy + "\n }"},
		"respond":                   {site: "handle /healthz {\n respond OK\n }\n handle {" + gateAndProxy + "\n }"},
		"metrics":                   {site: "handle /metrics {\n metrics\n }\n handle {" + gateAndProxy + "\n }"},
		"invoke":                    {top: "&(api) {\n route {" + gateAndProxy + "\n }\n}\n", site: "invoke api"},
		"handle_response":           {site: swaps + " reverse_proxy engine:8080 {\n @good status 200\n handle_response @good {\n copy_response\n }\n }"},
		"request_body":              {site: "request_body {\n max_size 1KB\n }" + gateAndProxy},
		"uri":                       {site: "uri strip_prefix /asr" + gateAndProxy},
		"map":                       {site: "map {speechgate.account_id} {tenant} {\n ~.+ ${0}\n default none\n }\n request_header X-Tenant {tenant}" + gateAndProxy},
		"templates":                 {site: "templates" + gateAndProxy},
		"tracing":                   {site: "tracing {\n span gate\n }" + gateAndProxy},
		"header, log_append":        {site: "header X-A a\n log_append account {speechgate.account_id}" + gateAndProxy},
		"a second site with a gate": {top: ":81 {" + gateAndProxy + "\n }\n", site: gateAndProxy},
	} {
		t.Run(row, func(t *testing.T) {
			checkWarnings(t, warningsOf(t, "{\n"+logged+test.options+"\n}\n"+test.top+":80 {\n"+test.site+"\n}\n"), nil)
		})
	}
}
