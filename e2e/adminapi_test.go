package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// adminAPI is the admin API of a program.
type adminAPI struct {
	*testing.T

	base   string
	client *http.Client
	header http.Header
	seen   []adminAnswer
}

// adminAnswer is an answer of the admin API, for validate.mjs.
type adminAnswer struct {
	Method   string `json:"method"`
	Template string `json:"template"` // the path in the document
	Status   int    `json:"status"`
	Type     string `json:"type"`
	Body     any    `json:"body"`
}

const adminSite = `{
	admin ADMIN
	auto_https off
	persist_config off
	speechgate
}

http://localhost:8080 {
	speechgate amivoice {
		upstream_key the-newer-key the-older-key
	}
	respond 500
}
`

// newAdminAPI runs a gateway whose admin endpoint has this address and these options.
func newAdminAPI(t *testing.T, address string) (*program, *adminAPI) {
	t.Helper()
	p := newProgram(t, strings.Replace(adminSite, "ADMIN", address, 1))
	p.start()
	return p, &adminAPI{T: t, base: "http://localhost:" + p.other, client: http.DefaultClient, header: make(http.Header)}
}

// ask sends a request, and keeps the answer. The template is the path in the document; the first
// argument of each pair is a parameter of the path.
func (a *adminAPI) ask(method, template, body string, parameters ...string) (status int, answer map[string]any) {
	a.Helper()
	path := template
	for i := 0; i+1 < len(parameters); i += 2 {
		path = strings.Replace(path, parameters[i], parameters[i+1], 1)
	}
	template, _, _ = strings.Cut(template, "?")
	resp := a.send(method, path, body)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(text, &decoded); err != nil {
		a.Fatalf("%s %s: %d %q: %v", method, path, resp.StatusCode, text, err)
	}
	a.seen = append(a.seen, adminAnswer{method, template, resp.StatusCode, resp.Header.Get("Content-Type"), decoded})
	answer, _ = decoded.(map[string]any)
	return resp.StatusCode, answer
}

// askWithCanary sends a request without a key that gates note.
func (p *program) askWithCanary(id string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.base+p.probe, http.NoBody)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Speechgate-Canary", id)
	req.Header.Set("X-Forwarded-For", "203.0.113.1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// recordJob writes the record of a job to the keystore, as the gate does.
func (p *program) recordJob(job policy.Job) {
	p.t.Helper()
	store, err := keystore.Open(p.t.Context(), keystore.Config{Path: p.store(), CommandLine: true, MustExist: true})
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.CreateJob(p.t.Context(), job); err != nil {
		p.t.Fatal(err)
	}
}

// becomesHealthy waits until the server is healthy: Caddy can open its ports before the configuration
// has started.
func (a *adminAPI) becomesHealthy(p *program) {
	a.Helper()
	p.eventually("the server is healthy", func() bool {
		status, health := a.ask(http.MethodGet, "/speechgate/health", "")
		return status == http.StatusOK && health["status"] == "ok"
	})
}

func (a *adminAPI) send(method, path, body string) *http.Response {
	a.Helper()
	req, err := http.NewRequestWithContext(a.Context(), method, a.base+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(req.Header, a.header)
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := a.client.Do(req)
	if err != nil {
		a.Fatal(err)
	}
	return resp
}

// The document is one of OpenAPI 3.1, and each answer of each operation has the schema that the
// document has for it. Fields that the document does not know are faults.
func TestAdminAPI_AnswersAsItsDocumentSays(t *testing.T) {
	t.Parallel()
	p, a := newAdminAPI(t, "localhost:8081")
	a.becomesHealthy(p)
	_, document := a.ask(http.MethodGet, "/speechgate/openapi.json", "")

	_, account := a.ask(http.MethodPost, "/speechgate/accounts", `{"name":"Example Corp."}`)
	const accountPath, keyPath, jobPath = "/speechgate/accounts/{account_id}", "/speechgate/keys/{key_id}", "/speechgate/jobs/{job_id}"
	id := account["account_id"].(string) //nolint:forcetypeassert // or it panics
	newKey := `{"account_id":"` + id + `","expires":"30d","allow":["127.0.0.1"],"label":"door","issuable":true}`
	a.header.Set("Idempotency-Key", "3d1b8a5e")
	_, key := a.ask(http.MethodPost, "/speechgate/keys", newKey)
	a.ask(http.MethodPost, "/speechgate/keys", newKey)
	a.ask(http.MethodPost, "/speechgate/keys", strings.Replace(newKey, "door", "gate", 1))
	a.header.Del("Idempotency-Key")
	keyID := key["key_id"].(string) //nolint:forcetypeassert // or it panics
	for _, body := range []string{
		`{"key_id":"` + keyID + `","client_ip":"127.0.0.1","method":"POST","path":"/v1/recognize"}`,
		`{"client_ip":"127.0.0.1","method":"POST","path":"/v1/recognize"}`,
		`{"client_ip":"127.0.0.1","method":"GET","path":"/v1/","key":"x"}`,
		`{"client_ip":"localhost"}`,
	} {
		a.ask(http.MethodPost, "/speechgate/explain", body)
	}
	_, canary := a.ask(http.MethodPost, "/speechgate/canary", "")
	canaryID := canary["canary"].(string) //nolint:forcetypeassert // or it panics
	p.askWithCanary(canaryID)
	if _, seen := a.ask(http.MethodGet, "/speechgate/canary?id="+canaryID, ""); len(seen["seen"].([]any)) != 1 { //nolint:forcetypeassert // or it panics
		t.Errorf("the canary is %v", seen)
	}
	a.ask(http.MethodGet, "/speechgate/canary?id=x", "")
	p.recordJob(policy.Job{
		Backend: "amivoice", ID: "job-1", Dialect: "amivoice", AccountID: id, KeyID: keyID,
		State: policy.ParseJobState("queued"), CreatedAt: policy.At(time.Now()), Client: netip.MustParseAddr("192.0.2.7"),
	})
	a.ask(http.MethodGet, "/speechgate/jobs", "")
	a.ask(http.MethodGet, jobPath+"?backend=amivoice", "", "{job_id}", "job-1")
	inAccount, inKey := []string{"{account_id}", id}, []string{"{key_id}", keyID}
	for _, step := range []struct {
		method, template, body string
		parameters             []string
	}{
		{http.MethodGet, "/speechgate/accounts?limit=1", "", nil},
		{http.MethodGet, accountPath, "", inAccount},
		{http.MethodGet, accountPath, "", []string{"{account_id}", "acc_none"}},
		{http.MethodPatch, accountPath, `{"name":"Example Inc."}`, inAccount},
		{http.MethodPost, accountPath + "/limits", `{"limits":["requests=600/m"]}`, inAccount},
		{http.MethodPost, accountPath + "/suspend", `{"reason":"unpaid"}`, inAccount},
		{http.MethodPost, "/speechgate/keys", newKey, nil},
		{http.MethodPost, accountPath + "/resume", "", inAccount},
		{http.MethodPost, accountPath + "/rotate", `{"overlap":"1h"}`, inAccount},
		{http.MethodGet, keyPath, "", inKey},
		{http.MethodGet, keyPath + "/limits?operation=recognize", "", inKey},
		{http.MethodGet, keyPath + "/limits?operation=x", "", inKey},
		{http.MethodPatch, keyPath, `{"label":"gate"}`, inKey},
		{http.MethodPost, keyPath + "/suspend", `{"reason":"leaked?"}`, inKey},
		{http.MethodPost, keyPath + "/resume", "", inKey},
		{http.MethodPost, keyPath + "/rotate", `{"overlap":"1h"}`, inKey},
		{http.MethodPost, keyPath + "/revoke", `{"reason":"leaked","with_children":true}`, inKey},
		{http.MethodPost, keyPath + "/rotate", "", inKey},
		{http.MethodGet, "/speechgate/keys?limit=1", "", nil},
		{http.MethodGet, "/speechgate/keys?limit=x", "", nil},
		{http.MethodGet, "/speechgate/keys?account_id=" + id, "", nil},
		{http.MethodDelete, keyPath, "", inKey},
		{http.MethodGet, "/speechgate/streams", "", nil},
		{http.MethodPost, "/speechgate/streams/cut", `{"account_id":"` + id + `"}`, nil},
		{http.MethodPost, "/speechgate/streams/cut", `{}`, nil},
		{http.MethodGet, "/speechgate/audit?since=1d&limit=1000", "", nil},
		{http.MethodGet, "/speechgate/audit/verify", "", nil},
		{http.MethodGet, "/speechgate/usage", "", nil},
		{http.MethodGet, "/speechgate/usage?by=key&limit=5&since=1d&account_id=" + id, "", nil},
		{http.MethodGet, "/speechgate/usage?by=week", "", nil},
		{http.MethodGet, "/speechgate/forecast?within=60d&account_id=" + id, "", nil},
		{http.MethodGet, "/speechgate/usage/keys?limit=5&since=1d&account_id=" + id, "", nil},
		{http.MethodGet, "/speechgate/upstream-keys", "", nil},
		{http.MethodGet, "/speechgate/health", "", nil},
		{http.MethodGet, "/speechgate/whoami?remote_ip=192.0.2.1&forwarded_for=203.0.113.1", "", nil},
		{http.MethodPost, accountPath + "/close", `{}`, inAccount},
		{http.MethodPost, accountPath + "/close", `{"confirm":true}`, inAccount},
	} {
		a.ask(step.method, step.template, step.body, step.parameters...)
	}
	a.everyOperationWasGood(document)
	if faults := validated(t, document, a.seen); len(faults) > 0 {
		t.Errorf("%s", strings.Join(faults, "\n"))
	}
	// The checks can fail.
	spoilt := maps.Clone(document)
	delete(spoilt, "info")
	if faults := validated(t, spoilt, nil); len(faults) == 0 {
		t.Error("a document without info is valid")
	}
	wrong := adminAnswer{http.MethodGet, "/speechgate/health", http.StatusOK, "application/json", map[string]any{"status": "ok", "live_streams": 0, "secret": "x"}}
	if faults := validated(t, document, []adminAnswer{wrong}); len(faults) != 1 {
		t.Errorf("an answer with an unknown field has the faults %q", faults)
	}
}

// everyOperationWasGood fails the test if an operation of the document was not seen with a good
// answer, or if a field or a parameter has no description.
func (a *adminAPI) everyOperationWasGood(document map[string]any) {
	a.Helper()
	paths := document["paths"].(map[string]any) //nolint:forcetypeassert // or it panics
	for path, operations := range paths {
		for method := range operations.(map[string]any) { //nolint:forcetypeassert // or it panics
			good := slices.ContainsFunc(a.seen, func(s adminAnswer) bool {
				return s.Template == path && strings.EqualFold(s.Method, method) && s.Status < 300
			})
			if !good {
				a.Errorf("%s %s: no good answer was seen", method, path)
			}
		}
	}
	described(a.T, "the document", document)
}

// described fails the test if a property of a schema, or a parameter, has no description.
func described(t *testing.T, at string, node any) {
	t.Helper()
	switch node := node.(type) {
	case []any:
		for _, child := range node {
			described(t, at, child)
		}
	case map[string]any:
		properties, _ := node["properties"].(map[string]any)
		for name, schema := range properties {
			if s, ok := schema.(map[string]any); ok && s["description"] == nil {
				t.Errorf("%s: the field %s has no description", at, name)
			}
		}
		if node["in"] != nil && (node["description"] == nil || node["description"] == "") {
			t.Errorf("%s: the parameter %v has no description", at, node["name"])
		}
		for name, child := range node {
			described(t, at+"/"+name, child)
		}
	}
}

// validated returns the faults that validate.mjs finds in a document and in answers.
func validated(t *testing.T, document any, answers []adminAnswer) (faults []string) {
	t.Helper()
	sdkInstalled(t, "openapi", "@seriousme/openapi-schema-validator")
	if answers == nil {
		answers = []adminAnswer{}
	}
	input, err := json.Marshal(map[string]any{"document": document, "answers": answers})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool(t, "node"), "validate.mjs")
	cmd.Dir = filepath.Join("sdk", "openapi")
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal(out, &faults); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return faults
}

// Caddy's protections of the admin endpoint hold for this API: a web page cannot use it.
func TestAdminAPI_StandsBehindCaddysProtections(t *testing.T) {
	t.Parallel()
	_, a := newAdminAPI(t, "localhost:8081 {\n\t\tenforce_origin\n\t}")
	own := a.base
	for name, test := range map[string]struct {
		header http.Header
		want   int
	}{
		"the own origin":     {http.Header{"Origin": {own}}, http.StatusOK},
		"no origin":          {http.Header{}, http.StatusForbidden},
		"another origin":     {http.Header{"Origin": {"http://evil.example"}}, http.StatusForbidden},
		"a null origin":      {http.Header{"Origin": {"null"}}, http.StatusBadRequest},
		"no-cors":            {http.Header{"Origin": {own}, "Sec-Fetch-Mode": {"no-cors"}}, http.StatusBadRequest},
		"a rebound name":     {http.Header{"Origin": {own}, "Host": {"evil.example"}}, http.StatusForbidden},
		"a websocket":        {http.Header{"Origin": {own}, "Upgrade": {"websocket"}}, http.StatusBadRequest},
		"a site's own fetch": {http.Header{"Referer": {"http://evil.example/page"}}, http.StatusForbidden},
	} {
		a.header = test.header
		for _, target := range []string{"/speechgate/keys", "/speechgate/openapi.json", "/speechgate/streams"} {
			resp := a.send(http.MethodGet, target, "")
			_ = resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("%s, %s: status %d, want %d", name, target, resp.StatusCode, test.want)
			}
		}
	}
}

// A foreign origin is refused also without enforce_origin.
func TestAdminAPI_RefusesAForeignOrigin(t *testing.T) {
	t.Parallel()
	_, a := newAdminAPI(t, "localhost:8081")
	a.header.Set("Origin", "http://evil.example")
	resp := a.send(http.MethodPost, "/speechgate/accounts", `{"name":"Evil Corp."}`)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// On a unix socket, the permissions of the file say who may use the API.
func TestAdminAPI_OnAUnixSocket(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	p, a := newAdminAPI(t, "unix/"+socket+"|0600")
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket is %v: %v", info, err)
	}
	a.base = "http://localhost"
	a.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	a.becomesHealthy(p)
}

// A secret that was issued through the API is in the answer, and neither in the log nor in the
// keystore's file.
func TestAdminAPI_LogsNoSecret(t *testing.T) {
	t.Parallel()
	p, a := newAdminAPI(t, "localhost:8081")
	_, account := a.ask(http.MethodPost, "/speechgate/accounts", `{"name":"Example Corp."}`)
	_, key := a.ask(http.MethodPost, "/speechgate/keys", `{"account_id":"Example Corp.","expires":"1d"}`)
	secret, password := key["key"].(string), account["service_password"].(string) //nolint:forcetypeassert // or it panics
	a.ask(http.MethodPost, "/speechgate/explain", `{"key":"`+secret+`","client_ip":"127.0.0.1","method":"POST","path":"/v1/recognize"}`)
	p.eventually("the log has the requests", func() bool { return strings.Contains(p.output.String(), "/speechgate/explain") })
	found := regexp.MustCompile(regexp.QuoteMeta(secret) + "|" + regexp.QuoteMeta(password)).FindString(p.output.String())
	if found != "" || secret == "" || password == "" {
		t.Errorf("the log has %q:\n%s", found, p.output)
	}
}
