package caddymodule_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestMistakes_WarnsOfHandlers(t *testing.T) {
	const (
		behindProxy  = "the gate comes behind a handler that answers these requests"
		takesAll     = "speechgate_verify answers every request, and none reaches the gate behind it"
		twice        = "a gate comes behind another gate: the second gate does not get the client's key"
		below        = "all requests of the speechmatics API reach the gate from other paths than the API's"
		noTLS        = " API without TLS only: a client library of the API opens live streams over wss only"
		judgedTwice  = "a gate comes behind another gate: each request is judged, logged and counted twice"
		unreached    = "no request that the API lists reaches the gate"
		rewritten    = "a rewrite comes between the gate and the proxy"
		unanswered   = "no handler behind the gate answers these requests"
		unguarded    = "these requests reach the backend of a gate without a check of their keys"
		past         = "clients get past the gate to its backend without a check of their keys, with what a matcher looks for "
		onError      = "after an error, such as one of a handler in front of the gate, handle_errors sends these requests to the backend"
		plain        = "the gate's key goes to this backend over plain HTTP"
		passwords    = "basic_auth and the gate get the same requests"
		issueBehind  = "speechgate_issue comes behind a gate"
		askBehind    = "speechgate_verify comes behind a gate"
		consolePlain = "the console is reached without TLS"
		unknownJobs  = "speechgate_verify is asked about jobs of backend"
		openAnswer   = "other proxies ask speechgate_verify, and Caddy answers a question with another host or path with an empty 200"
	)
	for name, test := range map[string]struct {
		options, sites string
		want           []string // parts of the warnings, in any order; || separates parts of one warning
	}{
		"a gate behind the proxy":           {sites: ":80 {\n route {\n reverse_proxy engine:8080\n speechgate amivoice\n }\n }", want: []string{behindProxy + `||"requests":["POST /v1/recognize","POST /v1/nolog/recognize","POST /v1/recognitions","POST /v2/recognitions","GET /v1/recognitions/job","GET /v2/recognitions/job","GET /v1/","GET /v1/nolog/"]||"listen":":80"||"upstream":"engine:8080"`}},
		"a gate behind the proxy of a site": {sites: "a.example, b.example {\n route {\n reverse_proxy engine:8080\n speechgate amivoice\n }\n }", want: []string{behindProxy + `||"host":"a.example"`}},
		"a gate behind the proxy of some paths": {
			sites: ":80 {\n @async path /v1/recognitions* /v2/recognitions*\n route {\n reverse_proxy @async engine:8080\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }",
			want:  []string{behindProxy + `||"requests":["POST /v1/recognitions","POST /v2/recognitions","GET /v1/recognitions/job","GET /v2/recognitions/job"]`},
		},
		"a proxy of other paths in front of it": {sites: ":80 {\n route {\n reverse_proxy /admin/* admin:8080\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a proxy for some addresses":            {sites: ":80 {\n @near client_ip 10.0.0.0/8\n route {\n reverse_proxy @near engine:8080\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{past + "(client_ip)"}},
		"the proxy above it without a route":    {sites: ":80 {\n reverse_proxy engine:8080\n speechgate amivoice\n }"},
		"a gate behind respond":                 {sites: ":80 {\n route {\n respond ok\n speechgate amivoice\n }\n }", want: []string{behindProxy}},
		"a gate behind the sandbox":             {sites: ":80 {\n route {\n speechgate_sandbox amivoice\n speechgate amivoice\n }\n }", want: []string{behindProxy}},
		"a gate behind forward_auth":            {sites: ":80 {\n route {\n forward_auth auth:8080 {\n uri /a\n }\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"in another handle":                     {sites: ":80 {\n handle /health {\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a gate that a handle shadows":          {sites: ":80 {\n route {\n handle {\n reverse_proxy engine:8080\n }\n handle /v1/* {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }\n }", want: []string{unreached}},

		"a console without TLS":            {sites: ":80 {\n speechgate_console\n speechgate amivoice\n reverse_proxy engine:8080\n }", want: []string{consolePlain}},
		"a console alone, without TLS":     {sites: "http://console.example {\n speechgate_console /\n }", want: []string{consolePlain + `||"host":"console.example"`}},
		"a console of this machine":        {sites: "http://localhost:8080 {\n bind 127.0.0.1\n speechgate_console\n }"},
		"a console with TLS":               {sites: "console.example {\n tls internal\n speechgate_console\n }"},
		"a console in front of everything": {sites: "console.example {\n tls internal\n speechgate_console /\n speechgate amivoice\n reverse_proxy engine:8080\n }", want: []string{behindProxy}},
		"a gate behind a proxy, a console and a health check": {
			sites: "http://localhost:8080 {\n bind 127.0.0.1\n route {\n speechgate_health\n speechgate_console\n reverse_proxy engine:8080\n speechgate amivoice\n }\n }", want: []string{behindProxy},
		},

		"a prefix that is not stripped":  {sites: ":80 {\n speechgate /asr/* amivoice\n reverse_proxy engine:8080\n }", want: []string{unreached}},
		"a prefix that is stripped":      {sites: ":80 {\n handle_path /asr/* {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a prefix that uri strips":       {sites: ":80 {\n uri strip_prefix /asr\n speechgate amivoice\n reverse_proxy engine:8080\n }"},
		"a path that is rewritten":       {sites: ":80 {\n handle /recognize {\n rewrite * /v1/recognize\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a gate for what it also allows": {sites: ":80 {\n handle /words/* {\n speechgate amivoice {\n also_allow GET /words/*\n }\n reverse_proxy words:8080\n }\n }"},
		"a matcher that leaves some out": {sites: ":80 {\n speechgate /v1/* amivoice\n reverse_proxy engine:8080\n }", want: []string{unguarded + `||"requests":["POST /v2/recognitions","GET /v2/recognitions/job"]||"upstream":"engine:8080"`}},
		"a matcher of addresses":         {sites: ":80 {\n @far not client_ip 10.0.0.0/8\n speechgate @far amivoice\n reverse_proxy engine:8080\n }", want: []string{past + "(client_ip)"}},

		"a path by a regular expression":       {sites: ":80 {\n @t path_regexp t ^/t/[a-z]+(/.*)$\n handle @t {\n rewrite * {re.t.1}\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"an expression that is not matched":    {sites: ":80 {\n @t not path_regexp ^/v\n handle @t {\n rewrite * /v1{path}\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"jobs by a regular expression":         {sites: ":80 {\n @t path_regexp ^/v1/recognitions/[0-9a-f]{24}$\n handle @t {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a rewrite of every path":              {sites: ":80 {\n rewrite * /v1{path}\n speechgate amivoice\n reverse_proxy engine:8080\n }"},
		"a rewrite in a route in front of it":  {sites: ":80 {\n route {\n route {\n uri replace /asr/ /\n }\n @a path /asr/*\n handle @a {\n respond a\n }\n speechgate /asr/* amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a suffix that is stripped":            {sites: ":80 {\n @json path *.json\n handle @json {\n uri strip_suffix .json\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a prefix of a placeholder":            {sites: ":80 {\n handle /{host}/* {\n uri strip_prefix /{host}\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"two prefixes":                         {sites: ":80 {\n handle_path /api/* {\n handle_path /asr/* {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }\n }"},
		"two prefixes, one of them in front":   {sites: ":80 {\n uri strip_prefix /api\n handle_path /asr/* {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a prefix and a header":                {sites: ":80 {\n @a {\n path /asr/*\n header X-A a\n }\n handle @a {\n uri strip_prefix /asr\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a prefix that is perhaps stripped":    {sites: ":80 {\n @a header X-A a\n route /asr/* {\n uri @a strip_prefix /asr\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a regular expression for others":      {sites: ":80 {\n @t path_regexp ^/t/\n handle @t {\n rewrite * /x\n respond t\n }\n handle /asr/* {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{unreached}},
		"not for the first host":               {sites: "a.test, b.test {\n @notA not host a.test\n handle @notA {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n handle {\n respond a\n }\n }"},
		"for the second host":                  {sites: "a.test, b.test {\n @b host b.test\n handle @b {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n handle {\n respond a\n }\n }"},
		"not for a host that it names alone":   {sites: ":80 {\n @a host a.test\n handle @a {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n handle {\n respond a\n }\n }"},
		"a mistake for the second host":        {sites: "a.test, b.test {\n @b host b.test\n handle @b {\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{unguarded + `||"host":"b.test"`}},
		"the same mistake for both hosts":      {sites: "b.test, a.test {\n route {\n speechgate amivoice\n uri strip_prefix /v1\n reverse_proxy engine:8080\n }\n }", want: []string{rewritten + `||"host":"b.test"`}},
		"for the last of many hosts":           {sites: manyHosts(16) + " {\n @last host h16.test\n handle @last {\n speechgate /asr/* amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{unreached}},
		"for the last of too many hosts":       {sites: manyHosts(17) + " {\n @last not host " + strings.ReplaceAll(manyHosts(16), ",", "") + "\n handle @last {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a host in a route that is invoked":    {sites: "&(api) {\n @a host a.test\n handle @a {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }\n :80 {\n invoke api\n }"},
		"a mistake in a route that is invoked": {sites: "&(api) {\n @a host a.test\n handle @a {\n reverse_proxy engine:8080\n }\n }\n :80 {\n invoke api\n }\n :81 {\n speechgate amivoice\n reverse_proxy engine:8080\n }", want: []string{unguarded + `||"listen":":80","host":"a.test"`}},
		"a gate between routes of a group":     {sites: ":80 {\n @a header X-A a\n route {\n handle @a {\n respond a\n }\n speechgate amivoice\n handle {\n reverse_proxy engine:8080\n }\n }\n }"},
		"a rewrite between routes of a group":  {sites: ":80 {\n @a header X-A a\n route {\n handle @a {\n respond a\n }\n uri strip_prefix /asr\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }\n }"},
		"a rewrite in another route of it":     {sites: ":80 {\n @a header X-A a\n handle @a {\n rewrite * /a\n reverse_proxy a:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"an end within a perhaps":              {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n @a header X-A a\n route {\n route @a {\n handle {\n respond a\n }\n }\n reverse_proxy engine:8080\n }\n }", want: []string{unguarded}},

		"a gate and a proxy for some requests":  {sites: ":80 {\n @a header X-A a\n route {\n route @a {\n speechgate amivoice\n reverse_proxy a:8080\n }\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a rewrite behind a proxy for some":     {sites: ":80 {\n @a header X-A a\n route {\n route @a {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n uri strip_prefix /v1\n reverse_proxy other:8080\n }\n }"},
		"basic_auth behind a proxy for some":    {sites: ":80 {\n @a header X-A a\n route {\n route @a {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n basic_auth {\n a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n reverse_proxy other:8080\n }\n }"},
		"a gate behind the proxy for some":      {sites: ":80 {\n @a header X-A a\n route {\n route @a {\n reverse_proxy engine:8080\n speechgate amivoice\n }\n }\n }", want: []string{behindProxy}},
		"a gate for some in a group":            {sites: ":80 {\n @a header X-A a\n route {\n handle @a {\n speechgate amivoice\n }\n handle {\n header X-B b\n }\n reverse_proxy engine:8080\n }\n }", want: []string{unguarded}},
		"jobs by question marks":                {sites: ":80 {\n @jobs path /v2/recognitions/" + strings.Repeat("?", 24) + "\n handle @jobs {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a host by a placeholder":               {sites: ":80 {\n @a host {env.SPEECHGATE_TEST_HOST}.test\n handle @a {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a handler that could rewrite":          {sites: ":80 {\n route {\n coraza_waf\n speechgate /asr/* amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a second site that could authenticate": {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n coraza_waf\n reverse_proxy engine:8080\n }"},
		"a second site with another prefix":     {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080 {\n rewrite /asr{uri}\n }\n }\n :81 {\n reverse_proxy engine:8080 {\n rewrite /web{uri}\n }\n }"},
		"a second site with the same prefix":    {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080 {\n rewrite /asr{uri}\n }\n }\n :81 {\n reverse_proxy engine:8080 {\n rewrite /asr{uri}\n }\n }", want: []string{unguarded}},
		"a second site with another host":       {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080 {\n header_up Host asr.test\n }\n }\n :81 {\n reverse_proxy engine:8080 {\n header_up Host web.test\n }\n }"},

		"a second gate behind the proxy":  {sites: ":80 {\n route {\n speechgate amivoice\n reverse_proxy engine:8080\n speechgate amivoice\n reverse_proxy engine:8081\n }\n }", want: []string{unreached}},
		"a second gate in another handle": {sites: ":80 {\n route {\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }\n }", want: []string{unreached}},
		"a second gate right behind it":   {sites: ":80 {\n speechgate amivoice\n speechgate /v1/* amivoice\n reverse_proxy engine:8080\n }", want: []string{twice}},
		"two gates for different paths":   {sites: ":80 {\n speechgate /v1/* amivoice\n speechgate /v2/* amivoice\n reverse_proxy engine:8080\n }"},
		"an API below a prefix":           {sites: ":80 {\n handle_path /asr/* {\n speechgate speechmatics\n reverse_proxy engine:8080\n }\n }", want: []string{below}},
		"an API at the root and below":    {sites: ":80 {\n uri strip_prefix /asr\n speechgate speechmatics\n reverse_proxy engine:8080\n }"},
		"an API whose clients keep paths": {sites: ":80 {\n handle_path /asr/* {\n speechgate deepgram\n reverse_proxy engine:8080\n }\n }"},

		"streams that need TLS, and have none":        {sites: ":80 {\n speechgate openai\n reverse_proxy engine:8080\n }", want: []string{noTLS + `||the openai API||"listen":":80"`}},
		"streams that need TLS, for a name":           {sites: "http://asr.example {\n speechgate assemblyai\n reverse_proxy engine:8080\n }", want: []string{noTLS + `||the assemblyai API||"host":"asr.example"`}},
		"two sites without TLS":                       {sites: ":80 {\n speechgate openai\n reverse_proxy engine:8080\n }\n :81 {\n speechgate openai {\n backend other\n }\n reverse_proxy other:8080\n }", want: []string{noTLS + `||"listen":":80"`}},
		"streams that can be plain":                   {sites: ":80 {\n speechgate deepgram\n reverse_proxy engine:8080\n }"},
		"streams that need TLS, and have it":          {sites: "asr.example {\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"streams that need TLS, on a port":            {sites: "https://asr.example:8443 {\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"streams with TLS and without":                {sites: "asr.example, http://asr.example {\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"a trial on localhost":                        {sites: "http://localhost:8080 {\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"a trial on a loopback address":               {sites: "http://127.0.0.1:8080, http://[::1]:8080, http://a.localhost:8080 {\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"a trial and a name":                          {sites: "http://localhost:8080, http://asr.example:8080 {\n speechgate openai\n reverse_proxy engine:8080\n }", want: []string{noTLS}},
		"a server that listens on a loopback address": {sites: "http://asr.example {\n bind 127.0.0.1\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"a server that listens on a Unix socket":      {sites: "http://asr.example {\n bind unix//run/asr.sock\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"a proxy with TLS in front":                   {options: "servers {\n trusted_proxies static 10.0.0.0/8\n trusted_proxies_strict\n }", sites: ":80 {\n speechgate openai\n reverse_proxy engine:8080\n }"},
		"a balancer with PROXY protocol in front":     {options: "servers {\n listener_wrappers {\n proxy_protocol\n tls\n }\n }", sites: ":80 {\n speechgate openai\n reverse_proxy engine:8080\n }"},

		"two gates for some requests each": {sites: ":80 {\n @a header X-A a\n @b header X-B b\n speechgate @a amivoice\n speechgate @b amivoice\n reverse_proxy engine:8080\n }", want: []string{unguarded}},

		"a gate for requests with a header":      {sites: ":80 {\n @k header Authorization *\n speechgate @k amivoice\n reverse_proxy engine:8080\n }", want: []string{unguarded + `||"POST /v1/recognize"`}},
		"a gate for requests without a header":   {sites: ":80 {\n @k header !X-Internal\n speechgate @k amivoice\n reverse_proxy engine:8080\n }", want: []string{past + "(header X-Internal)"}},
		"a gate for all but some headers":        {sites: ":80 {\n @k not {\n header X-A a\n header X-B *b*\n }\n speechgate @k amivoice\n reverse_proxy engine:8080\n }", want: []string{past + "(header X-A, header X-B)"}},
		"a gate for a query":                     {sites: ":80 {\n @k query u=*\n speechgate @k amivoice\n reverse_proxy engine:8080\n }", want: []string{unguarded}},
		"a gate for some connections":            {sites: ":80 {\n @k remote_ip 10.0.0.0/8\n speechgate @k amivoice\n reverse_proxy engine:8080\n }", want: []string{unguarded}},
		"a gate for a header by an expression":   {sites: ":80 {\n @k header_regexp X-A ^a+\n speechgate @k amivoice\n reverse_proxy engine:8080\n }", want: []string{unguarded}},
		"a proxy for a query":                    {sites: ":80 {\n @d query debug=1\n handle @d {\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{past + `(query debug)||"upstream":"engine:8080"`}},
		"a proxy for a header by an expression":  {sites: ":80 {\n @d header_regexp X-A ^(a|b)[^c]\\d+$\n handle @d {\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{past + "(header X-A)"}},
		"a proxy for a header and an address":    {sites: ":80 {\n @d {\n header X-A a\n remote_ip 10.0.0.0/8\n }\n handle @d {\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{past + "(header X-A, remote_ip)"}},
		"a proxy for a header within an address": {sites: ":80 {\n @a header X-A a\n @near remote_ip 10.0.0.0/8\n handle @near {\n route {\n reverse_proxy @a engine:8080\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }\n handle {\n respond 404\n }\n }", want: []string{past + "(header X-A, remote_ip)"}},
		"a second site for a header":             {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n @a header X-A a\n reverse_proxy @a engine:8080\n }", want: []string{past + `(header X-A)||"listen":":81"`}},
		"a second site for some addresses":       {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n @far not remote_ip 10.0.0.0/8\n abort @far\n reverse_proxy engine:8080\n }", want: []string{past + `(remote_ip)||"listen":":81"`}},
		"a proxy for this machine":               {sites: ":80 {\n @near remote_ip 127.0.0.1 ::1\n handle @near {\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a gate for each header":                 {sites: ":80 {\n @a header X-A a\n handle @a {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"a gate with a header, and one without":  {sites: ":80 {\n @a header X-A a\n @b not header X-A a\n speechgate @a amivoice\n speechgate @b amivoice\n reverse_proxy engine:8080\n }"},
		"a header that is removed in front":      {sites: ":80 {\n route {\n request_header -X-Internal\n @i header X-Internal *\n reverse_proxy @i engine:8080\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"addresses that are refused in front":    {sites: ":80 {\n @far not client_ip 10.0.0.0/8\n respond @far 403\n speechgate amivoice\n reverse_proxy engine:8080\n }"},
		"a gate for an expression":               {sites: ":80 {\n @k expression path('/v1/*')\n speechgate @k amivoice\n reverse_proxy engine:8080\n }"},

		"a proxy in handle_errors":                    {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n handle_errors {\n reverse_proxy engine:8080\n }\n }", want: []string{onError + `||"upstream":"engine:8080"`}},
		"a proxy in handle_errors for some errors":    {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n handle_errors 404 {\n respond missing\n }\n handle_errors 5xx {\n reverse_proxy engine:8080\n }\n }", want: []string{onError}},
		"a proxy in handle_errors of another site":    {sites: "a.example {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n b.example {\n respond b\n handle_errors {\n reverse_proxy engine:8080\n }\n }", want: []string{onError + `||"host":"b.example"`}},
		"a gate in handle_errors":                     {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n handle_errors {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},
		"another backend in handle_errors":            {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n handle_errors {\n reverse_proxy errors:8080\n }\n }"},
		"a proxy in handle_response":                  {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n reverse_proxy web:8080 {\n @missing status 404\n handle_response @missing {\n reverse_proxy engine:8080\n }\n }\n }", want: []string{unguarded + `||"listen":":81"`}},
		"a proxy in handle_response, behind the gate": {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080 {\n @missing status 404\n handle_response @missing {\n rewrite * /other\n reverse_proxy engine:8080\n }\n }\n }"},
		"a proxy in intercept, in front of the gate":  {sites: ":80 {\n route {\n intercept {\n @refused status 401\n handle_response @refused {\n reverse_proxy engine:8080\n }\n }\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{unguarded}},

		"a second site with upstreams by SRV":   {sites: ":80 {\n speechgate amivoice\n reverse_proxy {\n dynamic srv _asr._tcp.test\n }\n }\n :81 {\n reverse_proxy {\n dynamic srv _asr._tcp.test\n }\n }", want: []string{unguarded + `||"upstream":"dynamic upstreams `}},
		"a second site, one of the two by DNS":  {sites: ":80 {\n speechgate amivoice\n reverse_proxy {\n dynamic a engine 8080\n }\n }\n :81 {\n reverse_proxy engine:8080\n }", want: []string{unguarded}},
		"a second site by the environment":      {sites: ":80 {\n speechgate amivoice {\n upstream_key {env.AMIVOICE_KEY}\n }\n reverse_proxy {env.AMIVOICE_KEY}:8080\n }\n :81 {\n reverse_proxy " + backendKey + ":8080\n }", want: []string{unguarded}},
		"a second site by a placeholder":        {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n reverse_proxy {http.request.header.X-Backend}\n }"},
		"a second site by the same placeholder": {sites: ":80 {\n speechgate amivoice\n reverse_proxy {http.request.header.X-Backend}\n }\n :81 {\n reverse_proxy {http.request.header.X-Backend}\n }", want: []string{unguarded}},

		"a rewrite behind it":              {sites: ":80 {\n speechgate amivoice\n route {\n rewrite /v1/recognize /v1/nolog/recognize\n reverse_proxy engine:8080\n }\n }", want: []string{rewritten + `||"requests":["POST /v1/recognize"]||"upstream":"engine:8080"`}},
		"uri behind it":                    {sites: ":80 {\n route {\n speechgate amivoice\n uri strip_prefix /v1\n reverse_proxy engine:8080\n }\n }", want: []string{rewritten}},
		"handle_path behind it":            {sites: ":80 {\n speechgate amivoice\n handle_path /v1/* {\n reverse_proxy engine:8080\n }\n handle {\n reverse_proxy engine:8080\n }\n }", want: []string{rewritten}},
		"method behind it":                 {sites: ":80 {\n route {\n speechgate amivoice\n method GET\n reverse_proxy engine:8080\n }\n }", want: []string{rewritten}},
		"rewrite in the proxy":             {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080 {\n rewrite /v1/recognize\n }\n }", want: []string{rewritten}},
		"a rewrite in front of it":         {sites: ":80 {\n rewrite /recognize /v1/recognize\n speechgate amivoice\n reverse_proxy engine:8080\n }"},
		"a backend below a prefix":         {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080 {\n rewrite /asr{uri}\n }\n }"},
		"a prefix that a rewrite adds":     {sites: ":80 {\n route {\n speechgate amivoice\n rewrite * /asr{path}\n reverse_proxy engine:8080\n }\n }"},
		"a rewrite in another proxy":       {sites: ":80 {\n speechgate amivoice\n @a header X-Mode a\n handle @a {\n reverse_proxy engine:8080 {\n rewrite /fixed\n }\n }\n handle {\n reverse_proxy other:8080\n }\n }"},
		"a rewrite of another proxy's way": {sites: ":80 {\n handle /ui/* {\n uri strip_prefix /ui\n reverse_proxy ui:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }"},

		"a second site":                       {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n reverse_proxy engine:8080\n }", want: []string{unguarded + `||"listen":":81"||"upstream":"engine:8080"||"GET /v1/"`}},
		"a second site by another spelling":   {sites: ":80 {\n speechgate amivoice\n reverse_proxy localhost:8080\n }\n :81 {\n reverse_proxy 127.0.0.1:8080\n }", want: []string{unguarded + `||"upstream":"localhost:8080"`}},
		"a second host":                       {sites: "a.example {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n b.example {\n reverse_proxy engine:8080\n }", want: []string{unguarded + `||"host":"b.example"`}},
		"a second route":                      {sites: ":80 {\n handle /v2/* {\n reverse_proxy engine:8080\n }\n handle {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n }", want: []string{unguarded}},
		"a second site with upstreams by DNS": {sites: ":80 {\n speechgate amivoice\n reverse_proxy {\n dynamic a engine 8080\n }\n }\n :81 {\n reverse_proxy {\n dynamic a engine 8080\n }\n }", want: []string{unguarded + `||"upstream":"engine:8080"`}},
		"a second site with a gate":           {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n speechgate amivoice\n reverse_proxy engine:8080\n }"},
		"a second site with another upstream": {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n reverse_proxy engine:8081\n }"},
		"a second site with a password":       {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n basic_auth {\n a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n reverse_proxy engine:8080\n }"},
		"a second site with certificates":     {sites: "a.example {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n b.example:8443 {\n tls internal {\n client_auth {\n mode require\n }\n }\n reverse_proxy engine:8080\n }"},
		"a second site of this machine":       {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n bind 127.0.0.1\n reverse_proxy engine:8080\n }"},
		"two sites of this machine":           {sites: ":80 {\n bind localhost\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n bind localhost\n reverse_proxy engine:8080\n }", want: []string{unguarded}},
		"a second site for other paths":       {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n :81 {\n reverse_proxy /metrics engine:8080\n }"},
		"no gate at all":                      {sites: ":80 {\n reverse_proxy engine:8080\n }\n :81 {\n reverse_proxy engine:8080\n }"},

		"nothing behind it":                {sites: ":80 {\n speechgate amivoice\n }", want: []string{unanswered + `||"POST /v1/recognize"`}},
		"a matcher that is too narrow":     {sites: ":80 {\n @async path /v1/recognitions* /v2/recognitions*\n speechgate amivoice\n header X-A b\n encode\n reverse_proxy @async engine:8080\n }", want: []string{unanswered + `||"requests":["POST /v1/recognize","POST /v1/nolog/recognize"]`}},
		"a handler that is not known":      {options: "order coraza_waf after speechgate", sites: ":80 {\n speechgate amivoice\n coraza_waf\n }"},
		"an upstream for some addresses":   {sites: ":80 {\n @near client_ip 10.0.0.0/8\n speechgate amivoice\n reverse_proxy @near engine:8080\n }"},
		"basic_auth beside it":             {sites: ":80 {\n speechgate amivoice\n basic_auth {\n a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n reverse_proxy engine:8080\n }", want: []string{passwords}},
		"basic_auth in front of it":        {options: "order basic_auth before speechgate", sites: ":80 {\n speechgate amivoice\n basic_auth {\n a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n reverse_proxy engine:8080\n }", want: []string{passwords}},
		"basic_auth for other paths":       {sites: ":80 {\n speechgate amivoice\n basic_auth /admin/* {\n a $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n }\n reverse_proxy engine:8080\n }"},
		"a gate twice":                     {sites: ":80 {\n speechgate amivoice\n handle /v1/* {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n handle {\n reverse_proxy engine:8080\n }\n }", want: []string{twice}},
		"a gate twice that passes keys":    {sites: ":80 {\n speechgate amivoice {\n upstream_key pass\n }\n handle {\n speechgate amivoice {\n upstream_key pass\n }\n reverse_proxy engine:8080\n }\n }", want: []string{judgedTwice + `||"requests":["POST /v1/recognize",`}},
		"speechgate_issue behind it":       {sites: ":80 {\n speechgate amivoice\n handle /issue_service_authorization {\n speechgate_issue\n }\n handle {\n reverse_proxy engine:8080\n }\n }", want: []string{issueBehind}},
		"speechgate_issue in front of it":  {sites: ":80 {\n speechgate_issue\n speechgate amivoice\n reverse_proxy engine:8080\n }"},
		"speechgate_verify behind it":      {sites: ":80 {\n speechgate amivoice\n handle /verify {\n speechgate_verify amivoice {\n callers 10.0.0.5\n }\n }\n handle {\n reverse_proxy engine:8080\n }\n }", want: []string{askBehind}},
		"speechgate_verify in front of it": {sites: ":80 {\n speechgate_verify amivoice {\n callers 10.0.0.5\n }\n speechgate amivoice\n reverse_proxy engine:8080\n }", want: []string{takesAll}},
		"speechgate_verify with a path":    {sites: ":80 {\n speechgate_verify /verify amivoice {\n callers 10.0.0.5\n }\n speechgate amivoice\n reverse_proxy engine:8080\n }"},

		"speechgate_verify for nginx":                 {sites: "http://:8090 {\n bind 127.0.0.1\n" + verifyFor("nginx") + " }"},
		"speechgate_verify for nginx beside a gate":   {sites: ":80 {\n" + strings.Replace(verifyFor("nginx"), "verify", "verify /verify", 1) + " speechgate amivoice {\n backend engine-a\n }\n reverse_proxy engine:8080\n }"},
		"speechgate_verify for Envoy, with a host":    {sites: "http://verify.test:8090 {\n" + verifyFor("envoy") + " }", want: []string{openAnswer + `||"listen":":8090","host":"verify.test"||"requests":["GET /","POST /v1/recognize"]`}},
		"speechgate_verify for Caddy, with a path":    {sites: ":8090 {\n" + strings.Replace(verifyFor("caddy"), "verify", "verify /v1/*", 1) + " }", want: []string{openAnswer + `||"requests":["GET /"]`}},
		"speechgate_verify for Traefik, and a status": {sites: ":8090 {\n" + strings.Replace(verifyFor("traefik"), "verify", "verify /verify", 1) + " respond 404\n }"},

		"speechgate_verify of the gate's backend":       {sites: ":80 {\n speechgate amivoice {\n backend engine-a\n }\n reverse_proxy engine:8080\n }\n" + verifyOf("engine-a")},
		"speechgate_verify of another backend":          {sites: ":80 {\n speechgate amivoice {\n backend engine-a\n }\n reverse_proxy engine:8080\n }\n:81 {\n speechgate amivoice {\n backend engine-b\n }\n reverse_proxy engine:8081\n }\n" + verifyOf("engine-c"), want: []string{unknownJobs + ` \"engine-c\", and no gate||engine-a or engine-b"||"listen":":8090"`}},
		"speechgate_verify without backend":             {sites: ":80 {\n speechgate amivoice {\n backend engine-a\n }\n reverse_proxy engine:8080\n }\n" + verifyOf(""), want: []string{unknownJobs + ` \"amivoice\"||: engine-a"`}},
		"speechgate_verify of one of two backends":      {sites: ":80 {\n speechgate amivoice {\n backend engine-a\n }\n reverse_proxy engine:8080\n }\n:81 {\n speechgate amivoice {\n backend engine-b\n }\n reverse_proxy engine:8081\n }\n" + verifyOf("engine-b")},
		"speechgate_verify of a gate in an error route": {sites: ":80 {\n handle_errors {\n speechgate amivoice {\n backend engine-a\n }\n reverse_proxy engine:8080\n }\n }\n" + verifyOf("engine-a")},
		"speechgate_verify, and no gate":                {sites: verifyOf("engine-a")},

		"a backend without TLS":                 {sites: ":80 {\n " + swaps + "reverse_proxy acp-api.amivoice.com\n }", want: []string{plain + `||"upstream":"acp-api.amivoice.com:80"`}},
		"a backend with TLS":                    {sites: ":80 {\n " + swaps + "reverse_proxy https://acp-api.amivoice.com\n }"},
		"a backend without TLS, and no key":     {sites: ":80 {\n speechgate amivoice\n reverse_proxy acp-api.amivoice.com\n }"},
		"a backend without TLS in this network": {sites: ":80 {\n " + swaps + "reverse_proxy engine.internal:80 engine:80 10.0.0.9:80 engine.example.com:8080\n }"},
		"a backend without TLS on the Internet": {sites: ":80 {\n " + swaps + "reverse_proxy 203.0.113.9\n }", want: []string{plain}},
	} {
		t.Run(name, func(t *testing.T) {
			checkWarnings(t, warningsOf(t, "{\n"+logged+test.options+"\n}\n"+test.sites+"\n"), test.want)
		})
	}
}

// verifyOf returns a site in which a backend asks about its jobs. An empty name is the default.
func verifyOf(backend string) string {
	if backend != "" {
		backend = "backend " + backend
	}
	return ":8090 {\n speechgate_verify amivoice {\n callers 10.0.0.5\n " + backend + "\n }\n }\n"
}

// manyHosts returns the addresses of n sites.
func manyHosts(n int) string {
	var hosts []string
	for i := range n {
		hosts = append(hosts, fmt.Sprintf("h%02d.test", i+1))
	}
	return strings.Join(hosts, ", ")
}

func checkWarnings(t *testing.T, got, want []string) {
	t.Helper()
	left := slices.Clone(got)
	for _, parts := range want {
		i := slices.IndexFunc(left, func(line string) bool {
			return !slices.ContainsFunc(strings.Split(parts, "||"), func(part string) bool { return !strings.Contains(line, part) })
		})
		if i < 0 {
			t.Errorf("there is no warning %q; the warnings:\n%s", parts, strings.Join(got, ""))
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, line := range left {
		t.Errorf("there is one warning too many:\n%s", line)
	}
}

func TestMistakes_WarnsOfLogsWithoutTheFilter(t *testing.T) {
	const site = ":80 {\n log\n speechgate amivoice\n reverse_proxy engine:8080\n }\n"
	const own = "format filter {\n request speechgate\n resp_headers speechgate\n }\n"
	for name, test := range map[string]struct {
		options, sites string
		want           []string
	}{
		"no filter":                     {sites: site, want: []string{`"log":"default","fields":["request","resp_headers","error"]`}},
		"no filter, no access log":      {sites: ":80 {\n speechgate amivoice\n reverse_proxy engine:8080\n }\n", want: []string{`"log":"default"`}},
		"debug":                         {options: "debug\n", sites: site, want: []string{`"fields":["request","resp_headers","error","headers","uri","http"]`}},
		"the filter":                    {options: logged, sites: site},
		"the filter and debug":          {options: "debug\n" + logged, sites: site},
		"a field is missing":            {options: strings.Replace(logged, "\t\t\tresp_headers speechgate\n", "", 1), sites: site, want: []string{`"fields":["resp_headers"]`}},
		"the fields of debug":           {options: "debug\nlog {\n " + strings.Replace(own, "}", "error speechgate\n }", 1) + "}\n", sites: site, want: []string{`"fields":["headers","uri","http"]`}},
		"fields that are deleted":       {options: "log {\n format filter {\n request delete\n resp_headers delete\n error delete\n }\n }\n", sites: site},
		"a filter of Caddy's own":       {options: "log {\n format filter {\n request>uri query {\n replace u REDACTED\n }\n resp_headers delete\n error delete\n }\n }\n", sites: site, want: []string{`"fields":["request"]`}},
		"the parts of a field":          {options: "log {\n format filter {\n request>uri speechgate\n request>headers speechgate\n resp_headers delete\n error speechgate\n }\n }\n", sites: site},
		"a filter that another wraps":   {options: strings.NewReplacer("format filter", "format append {\n wrap filter", "http speechgate\n\t\t}", "http speechgate\n\t\t}\n\tgateway a\n\t}").Replace(logged), sites: site},
		"a site with a format":          {options: logged, sites: strings.Replace(site, " log\n", " log {\n format json\n }\n", 1), want: []string{`"log":"log0","fields":["request","resp_headers"]`}},
		"a site with a file":            {options: logged, sites: strings.Replace(site, " log\n", " log {\n output file access.log\n }\n", 1), want: []string{`"log":"log0","fields":["request","resp_headers"]`}},
		"a site with the filter":        {options: logged, sites: strings.Replace(site, " log\n", " log {\n "+own+"}\n", 1)},
		"a format of another site":      {options: logged, sites: "a.example {\n log\n speechgate amivoice\n reverse_proxy engine:8080\n }\n b.example {\n log {\n format json\n }\n respond b\n }\n"},
		"a format of this site":         {options: logged, sites: "b.example {\n log\n respond b\n }\n a.example {\n log {\n format json\n }\n speechgate amivoice\n reverse_proxy engine:8080\n }\n", want: []string{`"log":"log0"`}},
		"a second log for everything":   {options: logged + "log copy {\n output file copy.log\n format json\n }\n", sites: site, want: []string{`"log":"copy","fields":["request","resp_headers","error"]`}},
		"a second log for other things": {options: logged + "log admin {\n output file copy.log\n format json\n include admin.api\n }\n", sites: site},
		"a log that is discarded":       {options: "log {\n output discard\n }\n", sites: site},
		"a log without requests":        {options: "log {\n exclude http\n }\n", sites: site},
		"a field of the key's header":   {options: logged, sites: strings.Replace(site, " log\n", " log\n log_append key {http.request.header.Authorization}\n", 1), want: []string{`"log":"default","fields":["key"]`}},
		"a field of the query":          {options: logged, sites: strings.Replace(site, " log\n", " log\n log_append query {http.request.uri.query}\n", 1), want: []string{`"fields":["query"]`}},
		"a field of the body":           {options: logged, sites: strings.Replace(site, " log\n", " log\n log_append form {http.request.body}\n", 1), want: []string{`"fields":["form"]`}},
		"a field of a variable":         {options: logged, sites: strings.Replace(site, " log\n", " log\n vars who {http.request.header.Authorization}\n log_append key who\n", 1), want: []string{`"fields":["key"]`}},
		"a field that is deleted":       {options: strings.Replace(logged, "request speechgate", "request speechgate\n\tkey delete", 1), sites: strings.Replace(site, " log\n", " log\n log_append key {http.request.header.Authorization}\n", 1)},
		"a field without a key":         {options: logged, sites: strings.Replace(site, " log\n", " log\n log_append agent {http.request.header.User-Agent}\n log_append account {speechgate.account_id}\n", 1)},
		"a field of another site":       {options: logged, sites: "a.example {\n log\n speechgate amivoice\n reverse_proxy engine:8080\n }\n b.example {\n log\n log_append key {http.request.header.Authorization}\n respond b\n }\n"},
		"a field without an access log": {options: logged, sites: strings.Replace(site, " log\n", " log_append key {http.request.header.Authorization}\n", 1)},
		"no gate":                       {sites: ":80 {\n log\n reverse_proxy engine:8080\n }\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, part := range test.want {
				test.want[i] = "log shows keys of clients in clear||" + part
			}
			dir := t.TempDir()
			t.Chdir(dir) // of the files
			checkWarnings(t, warningsOf(t, "{\n"+test.options+"}\n"+test.sites), test.want)
		})
	}
}

// An attribute of a span can have a key, as a field of a log can.
func TestMistakes_WarnsOfSpansWithKeys(t *testing.T) {
	const site = ":80 {\n tracing {\n span_attributes {\n who VALUE\n }\n }\n speechgate amivoice\n reverse_proxy engine:8080\n }\n"
	for value, want := range map[string][]string{
		"{http.request.header.Authorization}": {`tracing writes keys of clients into attributes||"server":"srv0","attributes":["who"]`},
		"{http.request.uri}":                  {`"attributes":["who"]`},
		"{http.request.header.User-Agent}":    nil,
		"{speechgate.key_id}":                 nil,
	} {
		t.Run(value, func(t *testing.T) {
			checkWarnings(t, warningsOf(t, "{\n"+logged+"}\n"+strings.Replace(site, "VALUE", value, 1)), want)
		})
	}
}

// A running server logs each warning once for each load, with the place.
func TestMistakes_AreLoggedOnceForEachLoad(t *testing.T) {
	g := newGatewayWith(t, &gateway{site: "route {\n speechgate amivoice\n reverse_proxy {backend}\n }"})
	const warning = `"logger":"speechgate","msg":"a gate comes behind another gate`
	for loads := 1; loads <= 2; loads++ {
		if loads > 1 {
			g.load()
		}
		if got := strings.Count(g.log(), warning); got != loads {
			t.Errorf("after %d loads, the warning is logged %d times; the log:\n%s", loads, got, g.log())
		}
	}
	if want := `"server":"srv0","listen":":` + strings.TrimPrefix(g.addr, "127.0.0.1:") + `","host":"127.0.0.1","requests":["POST /v1/recognize"`; !strings.Contains(g.log(), want) {
		t.Errorf("the warning does not say %s; the log:\n%s", want, g.log())
	}
}

// verifyFor is an endpoint that another proxy asks.
func verifyFor(proxy string) string {
	return "speechgate_verify amivoice {\n callers 127.0.0.1\n proxy " + proxy + "\n }\n"
}
