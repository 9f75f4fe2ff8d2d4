package caddymodule_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A configuration in JSON is held to the same rules as a Caddyfile.
func TestValidate_JSONIsHeldToTheRulesOfTheCaddyfile(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", filepath.Join(t.TempDir(), "must-not-be-made"))
	for _, c := range []struct{ app, handler, want string }{
		{"", `"handler": "speechgate", "dialect": "amivoice", "cors": ["https://*.example.com"]`, `cors "https://*.example.com": a wildcard inside an origin is not supported`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "cors": [""]`, `cors "": want an origin`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "cors": ["*", "*"]`, `cors: "*" stands alone`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "cors": ["off"], "cors_headers": ["traceparent"]`, `cors_headers: the option has no effect`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "cors_headers": ["traceparent, baggage"]`, `cors_headers "traceparent, baggage"`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "also_allow": [{"method": "*", "path": "/x"}]`, `also_allow "*" "/x"`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "also_allow": [{"method": "GET,POST", "path": "/x"}]`, `also_allow "GET,POST" "/x"`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "also_allow": [{"path": "/x"}]`, `also_allow "" "/x"`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "also_allow": [{"method": "GET", "path": "/x"}, {"method": "GET", "path": "/x"}]`, `also_allow GET /x: it has no effect`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_streams_per_key": 10, "max_streams_per_account": 2`, `max_streams 10 2: a key cannot have more streams than its account`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_streams_per_key": -1`, `max_streams_per_key -1: want a number from 1 to 1000000`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_streams_per_account": 1000001`, `max_streams_per_account 1000001`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_early_frames": -1`, `max_early_frames -1`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_pending_streams": 1000001`, `max_pending_streams 1000001`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_stream_time": -1`, `max_stream_time -1ns`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "start_timeout": -1`, `start_timeout -1ns`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_stream_time": "10s", "start_timeout": "1m"`, `start_timeout 1m0s is longer than max_stream_time 10s`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "grace": "-1h"`, `grace -1h0m0s`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "grace": "1h", "grace_after_end": "1h"`, `grace_after_end 1h0m0s: it has no effect`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "backend": "a b"`, `backend "a b"`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "single_account": true`, `single_account: the option has no effect`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "max_head": -1`, `max_head -1`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "on_expiry": "Cut"`, `on_expiry "Cut"`},
		{"", `"handler": "speechgate", "dialect": "amivoice", "on_expriy": "cut"`, `unknown field "on_expriy"`},
		{"", `"handler": "speechgate_issue", "cors": ["https://*.example.com"]`, `a wildcard inside an origin`},
		{"", `"handler": "speechgate_issue", "path": "keys"`, `path "keys"`},
		{"", `"handler": "speechgate_issue", "children": "none"`, `children "none"`},
		{"", `"handler": "speechgate_issue", "max_lifetime": -1`, `max_lifetime -1ns`},
		{"", `"handler": "speechgate_issue", "max_live_keys": -1`, `max_live_keys -1`},
		{"", `"handler": "speechgate_issue", "max_rate": -1`, `max_rate -1`},
		{"", `"handler": "speechgate_issue", "default_lifetime": -1`, `default_lifetime -1ns`},
		{"", `"handler": "speechgate_issue", "max_lifetime": 999999`, `max_lifetime 999.999us: want a duration of 1ms or more`},
		{"", `"handler": "speechgate_issue", "default_lifetime": 999999`, `default_lifetime 999.999us: want a duration of 1ms or more`},
		{"", `"handler": "speechgate_verify", "dialect": "amivoice", "callers": [""]`, `callers: want the addresses`},
		{"", `"handler": "speechgate_verify", "dialect": "amivoice", "callers": ["10.0.0.1/8"]`, `want 10.0.0.0/8 for the block`},
		{"", `"handler": "speechgate_verify", "dialect": "amivoice", "callers": ["10.0.0.1"], "grace": "0s", "grace_after_end": "1h"`, `grace_after_end 1h0m0s: it has no effect`},
		{"", `"handler": "speechgate_verify", "dialect": "amivoice", "callers": ["10.0.0.1"], "backend": "{env.X}"`, `backend "{env.X}"`},
		{"", `"handler": "speechgate_sandbox", "dialect": "amivoice", "queue_time": "-1s"`, `queue_time -1s`},
		{"", `"handler": "speechgate_sandbox", "dialect": "amivoice", "work_time": "200h"`, `work_time 200h0m0s`},
		{"", `"handler": "speechgate_sandbox", "dialect": "amivoice", "pause_at": "-1s", "reauthenticate": "http://localhost/"`, `pause_at -1s`},
		{`"max_staleness": "-1s"`, "", `max_staleness -1s`},
		{`"retention": 1`, "", `retention 1ns`},
		{`"cache_size": 1`, "", `cache_size 1`},
		{`"max_drains": 1000001`, "", `max_drains 1000001`},
		{`"max_heads": 1`, "", `max_heads 1`},
		{`"max_drain_size": 1`, "", `max_drain_size 1`},
		{`"keystore": {"engine": "SQLite"}`, "", `keystore engine: want sqlite or postgres`},
		{`"keystore": {"path": ":memory:"}`, "", `keystore path ":memory:"`},
		{`"keystore": {"dsn": "postgres://db/keys"}`, "", `keystore sqlite: dsn, direct, password_file, replica and admit_jobs are for postgres`},
		{`"keystore": {"create": true, "must_exist": true}`, "", `create and must_exist contradict each other`},
	} {
		handler := c.handler
		if handler == "" {
			handler = `"handler": "speechgate", "dialect": "amivoice"`
		}
		text := `{"admin": {"disabled": true}, "apps": {"speechgate": {` + c.app + `}, "http": {"servers": {"s": {"listen": [":8080"], "routes": [{"handle": [{` + handler + `}]}]}}}}}`
		var cfg caddy.Config
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(&cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error with %s", c.app, c.handler, err, c.want)
		}
	}
}
