package doctor_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/doctor"
	"github.com/speechgate/speechgate/internal/openid/openidtest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestDoctor_FindsNothingOnASoundGateway(t *testing.T) { //nolint:paralleltest // Caddy has one default logger
	p := newPatient(t)
	p.signInAt(openidtest.Start(t).URL)
	before, err := os.ReadFile(p.subject.Store.Path)
	if err != nil {
		t.Fatal(err)
	}
	report := p.examine()
	if report.Status != doctor.Pass {
		t.Errorf("the status is %s", report.Status)
	}
	seen := make(map[doctor.Check]bool)
	for _, f := range report.Checks {
		seen[f.Check] = true
		if f.Level != doctor.Pass && (f.Check != doctor.CheckServer || f.Level != doctor.Skip) || f.Fix != nil || f.Message == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, check := range []doctor.Check{
		doctor.CheckCgo, doctor.CheckConfiguration, doctor.CheckAdmin, doctor.CheckHandlers, doctor.CheckClientAddress, doctor.CheckEarlyData, doctor.CheckLogFilter,
		doctor.CheckStreams, doctor.CheckKeystore, doctor.CheckPermissions, doctor.CheckMigrations, doctor.CheckTombstone, doctor.CheckDisk,
		doctor.CheckClock, doctor.CheckUpstream, doctor.CheckUpstreamKey, doctor.CheckOldKeys, doctor.CheckProvider, doctor.CheckPorts, doctor.CheckServer,
	} {
		if !seen[check] {
			t.Errorf("there is no finding of %s", check)
		}
	}
	if after, err := os.ReadFile(p.subject.Store.Path); err != nil || string(after) != string(before) {
		t.Errorf("the keystore has changed: %v", err)
	}
	dir, err := os.ReadDir(filepath.Dir(p.subject.Store.Path))
	if err != nil || len(dir) != 1 {
		t.Errorf("there are other files beside the keystore: %v, %v", dir, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(p.subject.Store.Path)), "caddy.log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file of a log was opened: %v", err)
	}
}

// Each planted fault is found by its check, and by no other.
func TestDoctor_FindsAPlantedFault(t *testing.T) { //nolint:paralleltest // Caddy has one default logger
	const gate, proxy = "	speechgate amivoice {\n		upstream_key " + upstreamKey + "\n	}\n", "	reverse_proxy "
	never := policy.At(time.Now().Add(time.Hour))
	for name, test := range map[string]struct {
		check doctor.Check
		level doctor.Level
		part  string // of the message
		fault func(*patient)
	}{
		"trusted proxies that are not strict": {doctor.CheckClientAddress, doctor.Fail, "trusted_proxies is not strict", replacing("		trusted_proxies_strict\n", "")},
		"everyone is a trusted proxy":         {doctor.CheckClientAddress, doctor.Fail, "trusted_proxies has every address", replacing("10.0.0.1/32", "0.0.0.0/0")},
		"early data on purpose": {doctor.CheckEarlyData, doctor.Warn, "early data on purpose", func(p *patient) {
			p.edit = func(json string) string {
				return strings.Replace(json, `"trusted_proxies":`, `"allow_0rtt":true,"trusted_proxies":`, 1)
			}
		}},

		"the default log without a filter": {doctor.CheckLogFilter, doctor.Fail, "request>uri", replacing("			request speechgate\n", "")},
		"a log of a site without a filter": {doctor.CheckLogFilter, doctor.Fail, "request>uri, request>headers", func(p *patient) {
			p.replace("	log\n", "	log {\n		output file "+filepath.Join(p.t.TempDir(), "access.log")+"\n	}\n")
		}},
		"a log that shows errors": {doctor.CheckLogFilter, doctor.Fail, "in error", replacing("			error speechgate\n", "")},

		"a reload cuts streams": {doctor.CheckStreams, doctor.Warn, "A reload cuts the live streams", replacing("		stream_close_delay 10m\n", "")},

		"no gate": {doctor.CheckHandlers, doctor.Warn, "has no gate", replacing(gate, "")},
		"the gate behind the proxy": {doctor.CheckHandlers, doctor.Fail, "which never reach the gate", func(p *patient) {
			proxied := p.text[strings.Index(p.text, proxy):strings.LastIndex(p.text, "}")]
			p.replace(proxied, "")
			p.replace(gate, "	route {\n"+proxied+gate+"	}\n")
		}},
		"a gate whose matcher leaves paths out": {doctor.CheckHandlers, doctor.Fail, "without a check of their keys", replacing("	speechgate amivoice", "	speechgate /v1/* amivoice")},
		"a second site with the same upstream": {doctor.CheckHandlers, doctor.Fail, "without a check of their keys", func(p *patient) {
			p.text += "http://localhost:2 {\n reverse_proxy " + p.backend.URL + "\n}\n"
		}},
		"a rewrite behind the gate": {doctor.CheckHandlers, doctor.Fail, "another method or path", replacing("		stream_close_delay 10m\n", "		stream_close_delay 10m\n		rewrite /v1/recognitions/other\n")},

		"a console without TLS": {doctor.CheckHandlers, doctor.Fail, "The console is reached without TLS", replacing(
			"http://localhost:1 {\n", "http://gate.example:1 {\n	speechgate_console\n",
			"		trusted_proxies static 10.0.0.1/32\n		trusted_proxies_strict\n", "", // a proxy could have TLS
		)},

		"a gate for requests with a header": {doctor.CheckHandlers, doctor.Fail, "without a check of their keys", gateFor("header Authorization *")},
		"a gate for requests with a query":  {doctor.CheckHandlers, doctor.Fail, "without a check of their keys", gateFor("query u=*")},
		"a gate for some addresses":         {doctor.CheckHandlers, doctor.Fail, "without a check of their keys", gateFor("client_ip 10.0.0.0/8")},
		"a gate for all but some addresses": {doctor.CheckHandlers, doctor.Warn, "Clients get past the gate to its backend without a check of their keys, with what a matcher looks for (client_ip)", gateFor("not client_ip 10.0.0.0/8")},
		"a gate for an expression":          {doctor.CheckHandlers, doctor.Warn, "A matcher that needs a real request", gateFor("expression path('/v1/*')")},
		"a proxy for an expression": {doctor.CheckHandlers, doctor.Warn, "A matcher that needs a real request", func(p *patient) {
			p.replace("	speechgate amivoice", "	route {\n	@k vars internal yes\n	reverse_proxy @k "+p.backend.URL+"\n	}\n	speechgate amivoice")
			p.replace("{\n\tadmin off\n", "{\n\tadmin off\n\torder route before speechgate\n")
		}},
		"a proxy in handle_errors": {doctor.CheckHandlers, doctor.Fail, "handle_errors sends these requests to the backend of a gate", func(p *patient) {
			p.text = strings.TrimSuffix(p.text, "}\n") + "	handle_errors {\n		reverse_proxy " + p.backend.URL + "\n	}\n}\n"
		}},
		"a second site by a placeholder": {doctor.CheckHandlers, doctor.Warn, "These requests reach this reverse_proxy without a check of their keys", func(p *patient) {
			p.text += "http://localhost:2 {\n reverse_proxy {http.request.header.X-Backend}\n}\n"
		}},
		"a second site with upstreams by SRV": {doctor.CheckHandlers, doctor.Warn, "These requests reach this reverse_proxy without a check of their keys", func(p *patient) {
			p.text += "http://localhost:2 {\n reverse_proxy {\n dynamic srv _asr._tcp.test\n }\n}\n"
		}},
		"a backend by a placeholder, and another one": {doctor.CheckHandlers, doctor.Warn, "The backend of this gate is found at run time", func(p *patient) {
			p.replace(p.backend.URL, "{http.request.header.X-Backend}")
			p.text += "http://localhost:2 {\n reverse_proxy web.test:8080\n}\n"
			p.subject.Offline = true
		}},
		"a backend by a placeholder": {doctor.CheckUpstream, doctor.Warn, "depends on the request, so the doctor cannot tell", func(p *patient) {
			p.replace(p.backend.URL, "{http.request.header.X-Backend}")
		}},
		"one of two backends that cannot be reached": {doctor.CheckUpstream, doctor.Fail, "cannot be reached", func(p *patient) {
			p.replace(p.backend.URL, p.backend.URL+" http://127.0.0.1:1")
		}},

		"an admin API for other machines": {doctor.CheckAdmin, doctor.Fail, "Other machines reach the admin API", replacing("admin off", "admin :2019")},
		"an admin API at a name":          {doctor.CheckAdmin, doctor.Fail, "Other machines reach the admin API", replacing("admin off", "admin gate.example:2019")},

		"PROXY headers of everyone": {doctor.CheckClientAddress, doctor.Fail, "proxy_protocol takes the PROXY header of every address", replacing("		trusted_proxies_strict\n", "		trusted_proxies_strict\n		listener_wrappers {\n			proxy_protocol {\n				fallback_policy use\n			}\n		}\n")},

		"a field of a log with a key": {doctor.CheckLogFilter, doctor.Fail, "keys that clients send, in key.", replacing("	log\n", "	log\n	log_append key {http.request.header.Authorization}\n")},
		"a field of a log that the filter cannot mask": {doctor.CheckLogFilter, doctor.Fail, "keys that clients send, in key.", replacing(
			"	log\n", "	log\n	log_append key {http.request.uri.query.u}\n",
			"			request speechgate\n", "			request speechgate\n			key speechgate\n",
		)},
		"an attribute of a span with a key": {doctor.CheckLogFilter, doctor.Fail, "writes keys of clients into attributes of spans", replacing("	log\n", "	log\n	tracing {\n		span_attributes {\n			who {http.request.header.Authorization}\n		}\n	}\n")},
		"a field of a log with the upstream key": {doctor.CheckLogFilter, doctor.Fail, "The log shows the upstream key", replacing(
			"		format filter {\n", "		format append {\n			engine "+upstreamKey+"\n			wrap filter {\n",
			"			http speechgate\n", "			http speechgate\n			}\n",
		)},

		"a configuration that cannot be loaded": {doctor.CheckConfiguration, doctor.Fail, "grace_after_end", replacing("		upstream_key", "		grace_after_end 48h\n		upstream_key")},
		"an unset environment variable":         {doctor.CheckConfiguration, doctor.Fail, "SPEECHGATE_TEST_UNSET", replacing(upstreamKey, "{env.SPEECHGATE_TEST_UNSET}")},

		"a password in the configuration": {doctor.CheckPermissions, doctor.Warn, "has its password in the configuration", func(p *patient) {
			p.configure("postgres postgres://gateway:canary@127.0.0.1:1/keys")
		}},
		"a keystore that others can read":  {doctor.CheckPermissions, doctor.Warn, "can read the file", func(p *patient) { p.must(os.Chmod(p.subject.Store.Path, 0o644)) }},
		"a keystore that others can write": {doctor.CheckPermissions, doctor.Fail, "can be written by all users", func(p *patient) { p.must(os.Chmod(p.subject.Store.Path, 0o666)) }},
		"a directory that others can write": {doctor.CheckPermissions, doctor.Fail, "can be written by all users", func(p *patient) {
			p.must(os.Chmod(filepath.Dir(p.subject.Store.Path), 0o777))
		}},
		"a keystore of another user":    {doctor.CheckKeystore, doctor.Fail, "Run it as the owner", func(p *patient) { p.subject.StoreError = errors.New("run it as the owner") }},
		"no keystore":                   {doctor.CheckKeystore, doctor.Warn, "There is no keystore", func(p *patient) { p.must(os.Remove(p.subject.Store.Path)) }},
		"no keystore where one must be": {doctor.CheckKeystore, doctor.Fail, "There is no keystore", func(p *patient) { p.must(os.Remove(p.subject.Store.Path)); p.subject.Store.MustExist = true }},
		"a file that is not a keystore": {doctor.CheckKeystore, doctor.Fail, "not a database", func(p *patient) {
			p.must(os.WriteFile(p.subject.Store.Path, []byte(strings.Repeat("text ", 1000)), 0o600))
		}},
		"a pepper that the keystore does not have": {doctor.CheckKeystore, doctor.Warn, "no pepper", func(p *patient) { p.subject.Store.Pepper = policy.NewSecret("0123456789abcdef0123456789abcdef") }},
		"a keystore that is missing now":           {doctor.CheckTombstone, doctor.Fail, "it had one before", func(p *patient) { p.had("ks_before"); p.must(os.Remove(p.subject.Store.Path)) }},
		"another keystore than before":             {doctor.CheckTombstone, doctor.Warn, "another keystore", func(p *patient) { p.had("ks_before") }},
		"a keystore of an older version": {doctor.CheckMigrations, doctor.Warn, "The next start", func(p *patient) {
			p.spoil("DELETE FROM schema_version WHERE version_id = (SELECT MAX(version_id) FROM schema_version)")
		}},
		"a keystore of a newer version": {doctor.CheckMigrations, doctor.Fail, "this program knows versions up to", func(p *patient) {
			p.spoil("INSERT INTO schema_version (version_id, is_applied) VALUES (1000, 1); UPDATE meta SET value = '1000' WHERE name = 'compatible'")
		}},
		"a keystore of a newer version that works": {doctor.CheckMigrations, doctor.Warn, "newer than this program", func(p *patient) {
			p.spoil("INSERT INTO schema_version (version_id, is_applied) VALUES (1000, 1)")
		}},
		"a clock behind the keystore": {doctor.CheckClock, doctor.Fail, "behind the newest time in the keystore", func(p *patient) {
			p.open(func(s *keystore.Store) {
				_, _, err := s.CreateAccount(context.Background(), never, keystore.Actor{Kind: "operator", ID: "test"}, "Test")
				p.must(err)
			})
		}},

		"a backend that cannot be reached": {doctor.CheckUpstream, doctor.Fail, "cannot be reached", func(p *patient) { p.backend.Close() }},
		"a backend whose answer is the key": {doctor.CheckUpstream, doctor.Fail, "cannot be reached: net/http: ", func(p *patient) {
			p.replace(p.backend.URL, echoOfKey(p.t))
		}},
		"a backend that breaks connections": {doctor.CheckUpstream, doctor.Fail, "cannot be reached: EOF", func(p *patient) { p.breaksConnections(1000) }},
		"a backend with an error": {doctor.CheckUpstream, doctor.Warn, "status 503", func(p *patient) {
			p.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		}},
		"a key that the backend refuses": {doctor.CheckUpstreamKey, doctor.Fail, "refuses the upstream key, with status 401", replacing(upstreamKey, "another-key-0123456789abcdef")},
		"a clock that is ahead of the backend's": {doctor.CheckClock, doctor.Fail, "ahead of the Date of the backend", func(p *patient) {
			p.subject.Now = func() time.Time { return time.Now().Add(time.Hour) }
		}},
		"a clock that is a minute behind the backend's": {doctor.CheckClock, doctor.Warn, "behind the Date", func(p *patient) {
			p.subject.Now = func() time.Time { return time.Now().Add(-time.Minute) }
		}},

		"a provider that cannot be reached": {doctor.CheckProvider, doctor.Fail, "Operators cannot sign in there: the provider cannot be used: ", func(p *patient) {
			p.signInAt("http://127.0.0.1:1")
		}},
		"a provider that is not found": {doctor.CheckProvider, doctor.Fail, "404 Not Found", func(p *patient) {
			p.signInAt(openidtest.Start(p.t).URL + "/realms/other")
		}},
		"a provider of another name": {doctor.CheckProvider, doctor.Fail, "https://id.example.com", func(p *patient) {
			peer := openidtest.Start(p.t)
			peer.Document = func(d map[string]any) { d["issuer"] = "https://id.example.com" }
			p.signInAt(peer.URL)
		}},

		"a server with another configuration": {doctor.CheckServer, doctor.Warn, "another configuration", func(p *patient) { p.subject.Server = runs("{}") }},
		"a server that does not answer":       {doctor.CheckServer, doctor.Fail, "connection refused", func(p *patient) { p.subject.Server = runs("") }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			test.fault(p)
			report := p.examine()
			if report.Status != test.level {
				t.Errorf("the status is %s, want %s", report.Status, test.level)
			}
			found := false
			for _, f := range report.Checks {
				if strings.Contains(f.Message+f.Subject, upstreamKey) {
					t.Errorf("a finding shows the upstream key: %+v", f)
				}
				if test.check == doctor.CheckConfiguration && f.Level == doctor.Pass && (f.Check == doctor.CheckTombstone || f.Check == doctor.CheckPorts) {
					t.Errorf("a check without a configuration has passed: %+v", f)
				}
				if f.Level == doctor.Pass || f.Level == doctor.Skip {
					continue
				}
				if f.Check == test.check && f.Level == test.level && strings.Contains(f.Message, test.part) && (f.Fix != nil || test.check == doctor.CheckKeystore || test.check == doctor.CheckPermissions) {
					found = true
					continue
				}
				t.Errorf("another finding: %+v", f)
			}
			if !found {
				t.Errorf("the fault is not found in %+v", report.Checks)
			}
		})
	}
}

// How a server without a gate finds addresses of clients, or takes early data, is no matter of keys.
func TestDoctor_LooksAtServersWithAGateOnly(t *testing.T) { //nolint:paralleltest // Caddy has one default logger
	p := newPatient(t)
	p.text += "http://localhost:2 {\n respond 204\n}\n"
	p.edit = func(json string) string {
		return strings.Replace(json, `"listen":[":2"],`, `"listen":[":2"],"allow_0rtt":true,`, 1)
	}
	report := p.examine()
	if !strings.Contains(string(p.subject.Config), "allow_0rtt") || report.Status != doctor.Pass {
		t.Errorf("%s: %+v", p.subject.Config, report.Checks)
	}
	for _, f := range report.Checks {
		if f.Subject == "server srv1" {
			t.Errorf("%+v", f)
		}
	}
}

// These configurations look wrong, and are right.
func TestDoctor_FindsNothingInSoundVariants(t *testing.T) { //nolint:paralleltest // Caddy has one default logger
	for name, change := range map[string]func(*patient){
		"an admin API at a loopback address": replacing("admin off", "admin 127.0.0.1:2019"),
		"an admin API at the default":        replacing("	admin off\n", ""),
		"an admin API at a socket":           replacing("admin off", "admin unix//run/sg.sock|0600"),
		"a field of a log without keys":      replacing("	log\n", "	log\n	log_append agent {http.request.header.User-Agent}\n	log_append key {speechgate.key_id}\n"),
		"a field of a log that is deleted": replacing(
			"	log\n", "	log\n	log_append key {http.request.header.Authorization}\n",
			"			request speechgate\n", "			request speechgate\n			key delete\n",
		),
		"a field of a log with the URI, masked": replacing(
			"	log\n", "	log\n	log_append from {http.request.orig_uri}\n",
			"			request speechgate\n", "			request speechgate\n			from speechgate\n",
		),
		"a console on this machine":  replacing("	log\n", "	log\n	speechgate_health\n	speechgate_console\n"),
		"events to a webhook":        replacing("	servers {\n", "	events {\n		on speechgate.refused speechgate_webhook https://hooks.example/ {\n			secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n		}\n	}\n	servers {\n"),
		"PROXY headers of a proxy":   replacing("		trusted_proxies_strict\n", "		trusted_proxies_strict\n		listener_wrappers {\n			proxy_protocol {\n				allow 10.0.0.1/32\n			}\n		}\n"),
		"a gate behind each matcher": replacing("	speechgate amivoice {\n		upstream_key "+upstreamKey+"\n	}\n", "	@a header X-A a\n	@b not header X-A a\n	speechgate @a amivoice {\n		upstream_key "+upstreamKey+"\n	}\n	speechgate @b amivoice {\n		upstream_key "+upstreamKey+"\n	}\n"),
		"a backend by DNS beside another one": func(p *patient) {
			p.text += "http://localhost:2 {\n reverse_proxy web.test:8080\n}\n"
			p.replace("	reverse_proxy "+p.backend.URL+" {\n", "	reverse_proxy {\n		dynamic a 127.0.0.1 "+strings.TrimPrefix(p.backend.URL, "http://127.0.0.1:")+"\n")
		},
		"a backend that breaks the first connection": func(p *patient) { p.breaksConnections(1) },
		"handle_errors that answers": func(p *patient) {
			p.text = strings.TrimSuffix(p.text, "}\n") + "	handle_errors {\n		respond {err.status_code}\n	}\n}\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			change(p)
			for _, f := range p.examine().Checks {
				if f.Level == doctor.Warn || f.Level == doctor.Fail {
					t.Errorf("%+v: %s", f, *f.Fix)
				}
			}
		})
	}
}

func TestDoctor_SendsNothingToBackendsOffline(t *testing.T) { //nolint:paralleltest // Caddy has one default logger
	p := newPatient(t)
	p.backend.Close()
	p.signInAt("http://127.0.0.1:1")
	p.subject.Offline = true
	if report := p.examine(); report.Status != doctor.Pass {
		t.Errorf("%+v", report.Checks)
	}
}

func TestDoctor_TheServerRunsTheConfiguration(t *testing.T) { //nolint:paralleltest // Caddy has one default logger
	p := newPatient(t)
	p.examine()
	p.subject.Server = runs(p.subject.Config)
	report := p.examine()
	if last := report.Checks[len(report.Checks)-1]; report.Status != doctor.Pass || last.Check != doctor.CheckServer || last.Level != doctor.Pass {
		t.Errorf("%+v", report.Checks)
	}
}

// The examples are sound. Their keystores, hosts and certificates are not on this machine.
func TestDoctor_FindsNothingInTheExamples(t *testing.T) { //nolint:paralleltest // Caddy has one default logger
	examples, err := filepath.Glob("../../docs/examples/*.caddyfile")
	if err != nil || len(examples) < 3 {
		t.Fatalf("%d examples, %v", len(examples), err)
	}
	for _, name := range []string{"AMIVOICE_KEY", "ASSEMBLYAI_API_KEY", "DEEPGRAM_API_KEY", "OPENAI_API_KEY", "SPEECHMATICS_API_KEY"} {
		t.Setenv(name, upstreamKey)
	}
	for _, path := range append(examples, "../../Caddyfile.example") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p := newPatient(t)
			p.text = string(text)
			p.subject.Offline = true
			p.edit = func(json string) string {
				return strings.Replace(json, "{", `{"storage":{"module":"file_system","root":"`+t.TempDir()+`"},`, 1)
			}
			for _, f := range p.examine().Checks {
				// Other servers of this machine can use the ports of the examples.
				if f.Check != doctor.CheckPorts && (f.Level == doctor.Warn || f.Level == doctor.Fail) {
					t.Errorf("%+v: %s", f, *f.Fix)
				}
			}
		})
	}
}
