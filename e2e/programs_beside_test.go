package e2e_test

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
)

// startLogging starts a gate that logs to a file, and a sandbox. options is the rest of the line output.
func startLogging(t *testing.T, options string) (p *program, logFile string) {
	t.Helper()
	logFile = filepath.Join(t.TempDir(), "caddy.log")
	p = newProgram(t, testutil.Caddyfile{
		Options: `	servers {
		trusted_proxies static 127.0.0.1 ::1
		trusted_proxies_strict
	}
`,
		Log: "\t\toutput file " + logFile + options + "\n",
		Sites: `http://:8080 {
	log
	speechgate_issue
	speechgate amivoice {
		upstream_key sandbox-backend-key
	}
	speechgate_sandbox amivoice {
		key sandbox-backend-key
	}
}
`,
	}.String())
	p.start()
	return p, logFile
}

// recognize sends a recognition for a client behind a trusted proxy.
func (p *program) recognize(key, client string) {
	p.t.Helper()
	p.do(http.MethodPost, "/v1/recognize?d=-a-general&c=LSB16K&u="+key, strings.NewReader("audio "), "X-Forwarded-For", client)
}

// waitForLog waits until the log has a number of lines with a text.
func (p *program) waitForLog(file, text string, lines int) {
	p.t.Helper()
	p.eventually(fmt.Sprintf("the log has %d lines with %s", lines, text), func() bool {
		log, err := os.ReadFile(file)
		return err == nil && strings.Count(string(log), text) >= lines
	})
}

const filterFile = "../docs/fail2ban/speechgate.conf"

// The filter of docs/fail2ban finds the addresses of clients that guess keys, and the instants of
// their requests, and no other line: neither of clients whose keys have expired, nor of clients
// that write another address into their request.
func TestFail2banFindsClientsThatGuess(t *testing.T) {
	t.Parallel()
	regex := tool(t, "fail2ban-regex")
	p, log := startLogging(t, "")
	_, good := p.key(p.account())
	_, expired := p.key(p.account(), "--expires", "1ms")
	p.recognize("guessed", "192.0.2.7")
	p.recognize("guessed", "2001:db8::7")
	p.recognize(`","client_ip":"198.51.100.66",`, "192.0.2.8")
	p.do(http.MethodGet, `/v1/","client_ip":"198.51.100.66",`, nil, "X-Forwarded-For", "192.0.2.9", "User-Agent", `","client_ip":"198.51.100.66","x":"`)
	p.recognize(good, "192.0.2.1")
	p.recognize(expired, "192.0.2.2")
	for range 31 {
		resp, err := http.Post(p.base+"/issue_service_authorization", "application/x-www-form-urlencoded", strings.NewReader("sid=guessed&spw=guessed&epi=60000"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	p.waitForLog(log, `"reason":"throttled"`, 1)
	p.waitForLog(log, `"reason":"key_expired"`, 1)
	p.waitForLog(log, `"reason":"operation_unlisted"`, 1)

	find := func(filter, file string, options ...string) (found []string) {
		t.Helper()
		out, err := exec.Command(regex, append(options, "-o", "<ip> <time>", file, filter)...).Output()
		if err != nil {
			t.Fatalf("fail2ban-regex: %v: %s", err, stderrOf(err))
		}
		for line := range strings.Lines(string(out)) {
			var ip string
			var at float64
			if _, err := fmt.Sscan(line, &ip, &at); err != nil {
				t.Fatalf("fail2ban-regex prints %q", line)
			}
			if len(options) == 0 && !slices.ContainsFunc(instants(log), func(in float64) bool { return sameInstant(in, at) }) {
				t.Errorf("the line of %s is of %.6f, and no line of the log is", ip, at)
			}
			if !slices.Contains(found, ip) {
				found = append(found, ip)
			}
		}
		slices.Sort(found)
		return found
	}
	want := func(what string, found []string, addresses ...string) {
		t.Helper()
		if !slices.Equal(found, addresses) {
			t.Errorf("%s: found %q, want %q", what, found, addresses)
		}
	}
	throttled := find(filterFile, log)
	own := "127.0.0.1"
	if slices.Contains(throttled, "::1") { // the connection can come from both
		own = "::1"
	}
	all := []string{own, "192.0.2.7", "192.0.2.8", "2001:db8::7"}
	slices.Sort(all)
	want("the mode normal", throttled, all...)
	aggressive := append(slices.Clone(all), "192.0.2.9")
	slices.Sort(aggressive)
	want("the mode aggressive", find(filterFile+"[mode=aggressive]", log), aggressive...)

	// In the journal, a line begins with the host and the program, and fail2ban gets the instant
	// from the journal.
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	journal := clientFile(t, "journal", "host caddy[123]: "+strings.ReplaceAll(strings.TrimSpace(string(lines)), "\n", "\nhost caddy[123]: ")+"\n")
	want("the journal", find(filterFile, journal, "--datepattern={NONE}"), all...)
}

var instantOf = regexp.MustCompile(`"ts":([\d.]+)`)

// instants returns the instants of the lines of a log, in seconds since 1970.
func instants(log string) (all []float64) {
	text, _ := os.ReadFile(log)
	for _, match := range instantOf.FindAllSubmatch(text, -1) {
		at, _ := strconv.ParseFloat(string(match[1]), 64)
		all = append(all, at)
	}
	return all
}

// sameInstant reports whether fail2ban has read an instant of the log. It reads six digits of a
// fraction, and none if the fraction has one or two.
func sameInstant(log, read float64) bool {
	short := math.Abs(log*100-math.Round(log*100)) < 1e-3
	return math.Abs(log-read) < 2e-6 || short && math.Floor(log) == read
}

// A real fail2ban with the jail of docs/neighbours.md bans a client that guesses keys, and no
// other client.
func TestFail2banBansAClientThatGuesses(t *testing.T) {
	t.Parallel()
	server := tool(t, "fail2ban-server")
	jail := codeAfter(t, "neighbours.md", "[speechgate]")
	p, log := startLogging(t, "")
	dir := t.TempDir()
	banned := filepath.Join(dir, "banned")
	filter, err := os.ReadFile(filterFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"fail2ban.conf":            "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\nsocket = " + dir + "/sock\npidfile = " + dir + "/pid\ndbfile = None\ndbpurgeage = 1d\ndbmaxmatches = 10\n",
		"jail.conf":                "[DEFAULT]\nbackend = polling\nbanaction = note\naction = %(banaction)s\nusedns = no\n" + strings.Replace(jail, "/var/log/speechgate/caddy.log", log, 1),
		"filter.d/speechgate.conf": string(filter),
		"action.d/note.conf":       "[Definition]\nactionban = echo <ip> >> " + banned + "\n",
	} {
		file := filepath.Join(dir, "etc", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output := new(safeBuffer)
	cmd := exec.Command(server, "-f", "-c", filepath.Join(dir, "etc"), "start")
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("fail2ban's output:\n%s", output)
		}
	}()
	p.eventually("the jail has started", func() bool { return strings.Contains(output.String(), "Jail 'speechgate' started") })
	_, expired := p.key(p.account(), "--expires", "1ms")
	for range 40 {
		p.recognize("guessed", "192.0.2.7")
		p.recognize(expired, "192.0.2.8")
	}
	p.recognize("mistyped", "192.0.2.9")
	p.eventually("fail2ban has banned", func() bool {
		_, err := os.Stat(banned)
		return err == nil
	})
	p.waitForLog(log, `"client_ip":"192.0.2.9"`, 1)
	if got, err := os.ReadFile(banned); err != nil || string(got) != "192.0.2.7\n" {
		t.Errorf("banned are %q, %v", got, err)
	}
}

// codeAfter returns the indented code of a page that begins with a line.
func codeAfter(t *testing.T, page, first string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n    "+first+"\n")
	if !found {
		t.Fatalf("docs/%s has no code that begins with %q", page, first)
	}
	code := first + "\n"
	for line := range strings.Lines(after) {
		if !strings.HasPrefix(line, "    ") && line != "\n" {
			break
		}
		code += strings.TrimPrefix(line, "    ")
	}
	return strings.TrimSpace(code) + "\n"
}

// logrotate, as docs/neighbours.md says to configure it, moves the log aside while the gateway
// writes on, and no line is lost or cut.
func TestLogrotateBesideTheGateway(t *testing.T) {
	t.Parallel()
	logrotate := tool(t, "logrotate", "/usr/sbin/logrotate")
	config := codeAfter(t, "neighbours.md", "/var/log/speechgate/caddy.log {")
	output := strings.TrimSpace(strings.TrimPrefix(codeAfter(t, "neighbours.md", "output file /var/log/speechgate/caddy.log {"), "output file /var/log/speechgate/caddy.log"))
	p, log := startLogging(t, " "+output)
	config = strings.NewReplacer("/var/log/speechgate/caddy.log", log, "su speechgate speechgate", "", "compress\n", "\n", "delaycompress", "").Replace(config)
	file := clientFile(t, "logrotate", config)
	state := filepath.Join(t.TempDir(), "state")
	rotations := 3
	for i := range rotations {
		for range 10 {
			p.recognize("guessed", fmt.Sprintf("192.0.2.%d", i))
		}
		p.waitForLog(log, fmt.Sprintf(`"msg":"refused","reason":"key_unknown","operation":"recognize","key_id":"","account_id":"","client_ip":"192.0.2.%d"`, i), 10)
		p.waitForLog(log, fmt.Sprintf(`"client_ip":"192.0.2.%d","proto"`, i), 10) // the access log is written last
		if out, err := exec.Command(logrotate, "-f", "-s", state, file).CombinedOutput(); err != nil {
			t.Fatalf("logrotate: %v: %s", err, out)
		}
	}
	p.recognize("guessed", "192.0.2.99")
	p.waitForLog(log, "192.0.2.99", 2)
	files, err := filepath.Glob(log + "*")
	if err != nil || len(files) != rotations+1 {
		t.Fatalf("the files are %q, %v", files, err)
	}
	var all []byte
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %s: other users could read it", file, info.Mode())
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	for i := range rotations {
		if n := bytes.Count(all, fmt.Appendf(nil, `"msg":"refused","reason":"key_unknown","operation":"recognize","key_id":"","account_id":"","client_ip":"192.0.2.%d"`, i)); n != 10 {
			t.Errorf("the logs have %d of 10 refusals of client %d", n, i)
		}
	}
	for line := range bytes.Lines(all) {
		if line[0] != '{' || !bytes.HasSuffix(line, []byte("}\n")) {
			t.Errorf("a line is cut: %q", line)
		}
	}
}

// Behind Apache, as docs/proxies.md says to configure it, uploads, jobs and live streams work.
func TestApacheInFrontOfTheGateway(t *testing.T) {
	t.Parallel()
	p, _ := newStreamProgram(t, "")
	_, key := p.key(p.account())
	p.base = "http://" + startApache(t, strings.Replace(strings.TrimPrefix(p.base, "http://"), "localhost", "127.0.0.1", 1))
	_, answer := p.post("/v1/recognize", key)
	if text, _ := answer["text"].(string); !strings.HasPrefix(text, "5.82 s") {
		t.Errorf("an upload is answered %v", answer)
	}
	_, answer = p.post("/v1/recognize", "guessed")
	if answer["code"] != "-" {
		t.Errorf("a wrong key is answered %v", answer)
	}
	_, created := p.post("/v2/recognitions", key)
	job, _ := created["sessionid"].(string)
	if status, answer := p.poll(job, key); status != http.StatusOK || answer["status"] == nil {
		t.Errorf("a poll is answered %d, %v", status, answer)
	}
	l := p.stream(startWith(key))
	l.WantText("s")
	l.feed()
	recognized(t, l.Until("e"))
	l = p.stream(startWith("guessed"))
	l.WantText(deniedStart)
}

// Litestream, as docs/neighbours.md says to run it, copies the live keystore, and takes nothing from
// the gateway. After the machine is lost, the copy becomes the keystore of a new one.
func TestLitestreamAndTheWayBack(t *testing.T) {
	t.Parallel()
	litestream := os.Getenv("SPEECHGATE_LITESTREAM")
	if litestream == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("SPEECHGATE_LITESTREAM names no program, and with CI set it must")
		}
		t.Skip("SPEECHGATE_LITESTREAM names no program: CONTRIBUTING.md says how to build it")
	}
	p, _ := startLogging(t, "")
	replica := filepath.Join(t.TempDir(), "replica")
	config := clientFile(t, "litestream", strings.NewReplacer(
		"/var/lib/speechgate/keystore.db", p.store(), "url: s3://backups.example.com/keystore", "type: file\n      path: "+replica,
	).Replace(codeAfter(t, "neighbours.md", "dbs:")))
	output := new(safeBuffer)
	cmd := exec.Command(litestream, "replicate", "-config", config)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the output of Litestream:\n%s", output)
		}
	}()
	account := p.account()
	_, key := p.key(account)
	_, created := p.post("/v2/recognitions", key)
	job, _ := created["sessionid"].(string)
	revokedID, revoked := p.key(account)
	p.run("key", "revoke", revokedID)
	for range 200 { // writes of the gateway and of commands, while Litestream copies
		if _, answer := p.post("/v2/recognitions", key); answer["sessionid"] == nil {
			t.Fatalf("a job is refused beside Litestream: %v", answer)
		}
	}
	marker, _ := p.key(account)
	restored := filepath.Join(t.TempDir(), "copy.db")
	p.eventually("the copy has the last key", func() bool {
		_ = os.Remove(restored)
		if out, err := exec.Command(litestream, "restore", "-config", config, "-o", restored, p.store()).CombinedOutput(); err != nil {
			output.Write(out)
			return false
		}
		text, err := os.ReadFile(restored)
		return err == nil && bytes.Contains(text, []byte(marker))
	})

	// The machine is lost, and a new one gets the copy.
	p.kill()
	_ = cmd.Process.Kill()
	if err := os.RemoveAll(filepath.Dir(p.store())); err != nil {
		t.Fatal(err)
	}
	p.run("restore", restored)
	if info, err := os.Stat(p.store()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the keystore is %v, %v; want the mode 0600", info, err)
	}
	p.start()
	if shown := p.run("job", "show", job); shown["account_id"] != account {
		t.Errorf("job show prints %v of a job from before the loss", shown)
	}
	if _, answer := p.post("/v1/recognize", key); answer["code"] != "" {
		t.Errorf("a key from before the loss: %v", answer)
	}
	if _, answer := p.post("/v1/recognize", revoked); answer["code"] != "-" {
		t.Errorf("a key that was revoked before the loss: %v", answer)
	}
	if check := p.run("audit", "verify"); check["fault"] != nil {
		t.Errorf("audit verify prints %v", check)
	}
}
