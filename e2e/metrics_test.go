package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "draw the pictures of docs/monitoring again")

// loadSites are a gate with a low limit of streams, and a gate with two upstream keys, which its backend
// refuses.
const loadSites = `
http://:8082 {
	bind 127.0.0.1
	speechgate amivoice {
		backend refusing
		upstream_key a-key-that-was-replaced the-key-from-before-it
	}
	reverse_proxy localhost:8081
}
`

// load is a gateway that many clients use until the test ends.
type load struct {
	*program

	admin    string                 // the address of the admin API
	refusing string                 // the URL of the gate whose upstream key is refused
	failed   atomic.Pointer[string] // the answer to a good request that failed
	ctx      context.Context        //nolint:containedctx // of the clients, until the test ends
	clients  sync.WaitGroup
}

// startLoad starts the gateway and its clients: good ones, and those whose mistakes the panels show.
func startLoad(t *testing.T) *load {
	t.Helper()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	l := &load{admin: "localhost:" + port(t)}
	second := port(t)
	l.refusing = "http://localhost:" + second
	text := strings.NewReplacer("admin localhost:2019", "admin "+l.admin, "grace_after_end 1h\n", "grace_after_end 1h\nmax_streams 2\n",
		":8082", ":"+second).Replace(string(example) + loadSites)
	l.program = newProgram(t, text)
	l.start()
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		l.clients.Wait()
	})
	account := l.account()
	_, key := l.key(account)
	_, short := l.key(account, "--expires", "3s")
	l.key(account, "--expires", "12h")
	l.key(account, "--expires", "20d")
	create := l.base + "/v2/recognitions?d=-a-general&c=LSB16K&u="
	onGrace := sessionID(l.want(`"sessionid"`, http.MethodPost, create+short, "audio"))

	recognize := l.base + "/v1/recognize?d=-a-general&c=LSB16K&u="
	l.every(20*time.Millisecond, func(int) { l.want(`"code":""`, http.MethodPost, recognize+key, strings.Repeat("audio ", 1000)) })
	l.every(100*time.Millisecond, func(i int) {
		l.ask(http.MethodPost, recognize+"guessed-"+strings.Repeat("x", i%7), strings.Repeat("audio ", 20_000))
	})
	l.every(200*time.Millisecond, func(int) { l.ask(http.MethodPost, l.refusing+"/v1/recognize?d=-a-general&c=LSB16K&u="+key, "audio") })
	l.every(50*time.Millisecond, func(int) {
		l.ask(http.MethodGet, l.base+"/v2/recognitions/"+onGrace, "", "Authorization", "Bearer "+short)
	})
	var jobs []string // the client polls the oldest 20 of them
	l.every(300*time.Millisecond, func(i int) {
		jobs = append(jobs, sessionID(l.want(`"sessionid"`, http.MethodPost, create+key, "audio")))
		l.want(`"status"`, http.MethodGet, l.base+"/v2/recognitions/"+jobs[i%min(len(jobs), 20)], "", "Authorization", "Bearer "+key)
	})
	l.every(100*time.Millisecond, func(int) {
		l.ask(http.MethodPost, l.base+"/issue_service_authorization", "sid=nobody&spw=wrong&epi=60000")
	})
	l.every(700*time.Millisecond, func(int) { l.key(account, "--expires", "2s") })
	l.every(4*time.Second, func(int) { // three streams at a time: the gate refuses one of them
		for range 3 {
			s := l.stream(startWith(key))
			l.clients.Go(func() {
				defer s.Close()
				select {
				case <-l.ctx.Done():
				case <-time.After(3 * time.Second):
				}
			})
		}
	})
	return l
}

// every calls f again and again, until the test ends.
func (l *load) every(pause time.Duration, f func(i int)) {
	l.clients.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := 0; ; i++ {
			f(i)
			select {
			case <-l.ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// ask sends a request and returns the body of the answer. The answer is empty if there is an error.
func (l *load) ask(method, address, body string, header ...string) string {
	r, err := http.NewRequestWithContext(l.ctx, method, address, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	if _, err := url.ParseQuery(body); err == nil && strings.HasPrefix(body, "sid=") {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	return string(answer)
}

// want returns the answer to a good request, which must have a text.
func (l *load) want(text, method, address, body string, header ...string) string {
	answer := l.ask(method, address, body, header...)
	if l.ctx.Err() == nil && !strings.Contains(answer, text) {
		l.failed.Store(&answer)
	}
	return answer
}

// sessionID returns the job's ID in the answer that creates it.
func sessionID(answer string) string {
	_, after, _ := strings.Cut(answer, `"sessionid":"`)
	id, _, _ := strings.Cut(after, `"`)
	return id
}

// loadShows are queries whose answers say that the load is as it should be, with the least value.
var loadShows = map[string]float64{
	`max_over_time(caddy_speechgate_live_streams[20s])`:                  1,
	`caddy_speechgate_jobs_on_grace`:                                     1,
	`caddy_speechgate_jobs{state="completed"}`:                           1,
	`caddy_speechgate_keys_expiring{within="1d"}`:                        1,
	`caddy_speechgate_keys_expiring{within="30d"}`:                       2,
	`caddy_speechgate_keys_issued_total{by="operator"}`:                  1,
	`caddy_speechgate_keys_ended_total{how="expired"}`:                   1,
	`caddy_speechgate_upstream_refused_total{backend="refusing"}`:        1,
	`count(caddy_speechgate_upstream_key_needed{position="2"})`:          4,
	`caddy_speechgate_limits_met_total{limit="streams"}`:                 1,
	`caddy_speechgate_throttled_total`:                                   1,
	`caddy_speechgate_store_up`:                                          1,
	`caddy_speechgate_cache_hits_total{cache="keys"}`:                    1,
	`caddy_speechgate_decisions_total{reason="key_unknown"}`:             1,
	`sum(caddy_speechgate_decisions_total{reason="allowed_by_grace"})`:   1,
	`sum(rate(caddy_speechgate_decisions_total{reason="allowed"}[10s]))`: 1,
	`sum(caddy_speechgate_drained_uploads_total{end="whole"})`:           1,
	`sum(ALERTS{alertname="SpeechgateUpstreamKeyRefused"})`:              1,
	`speechgate:decision_seconds:p99`:                                    1e-6,
}

// TestPrometheusAnswersEachQuery runs a gateway under load, which has refusals of each kind that a
// panel shows, and two Prometheus servers that scrape it: one reads native histograms, and one
// reads classic buckets. Each query of the dashboard and of the rules must have an answer.
func TestPrometheusAnswersEachQuery(t *testing.T) {
	t.Parallel()
	tool(t, "prometheus") // before the load
	load := startLoad(t)
	native := startPrometheus(t, load.admin, "--enable-feature=native-histograms")
	classic := startPrometheus(t, load.admin)
	problems := func(p *prometheus) (all []string) {
		for _, panel := range dashboard(t) {
			for _, target := range panel.Targets {
				if len(p.query(target.Expr, 0)) == 0 {
					all = append(all, "no answer for the panel "+panel.Title+": "+target.Expr)
				}
			}
		}
		for _, record := range p.rules() {
			if len(p.query(record, 0)) == 0 {
				all = append(all, "no answer for the rule "+record)
			}
		}
		for query, least := range loadShows {
			if got := p.query(query, 0); len(got) == 0 || got[0].Value.value < least {
				all = append(all, fmt.Sprintf("%s is %+v, want %v at least", query, got, least))
			}
		}
		return all
	}
	scrape := time.NewTicker(time.Second)
	defer scrape.Stop()
	for deadline := time.Now().Add(2 * time.Minute); len(problems(native))+len(problems(classic)) > 0 && time.Now().Before(deadline); {
		<-scrape.C
	}
	for name, p := range map[string]*prometheus{"native": native, "classic": classic} {
		for _, problem := range problems(p) {
			t.Errorf("the Prometheus that reads %s histograms: %s", name, problem)
		}
		if p99 := p.query(`speechgate:decision_seconds:p99`, 0); len(p99) != 1 || !(p99[0].Value.value < 1) {
			t.Errorf("the 99th percentile of a decision's time is %+v", p99)
		}
	}
	if len(native.query(`caddy_speechgate_decision_seconds_bucket`, 0)) > 0 || len(classic.query(`caddy_speechgate_decision_seconds_bucket`, 0)) == 0 {
		t.Error("want native histograms in one Prometheus, and classic buckets in the other")
	}
	if *update {
		for known := native.query("up", drawnSpan); len(known) == 0 || len(known[0].Values) < int(drawnSpan/time.Second); known = native.query("up", drawnSpan) {
			<-scrape.C // until the lines are long enough for people
		}
		if err := os.WriteFile(filepath.Join(monitoring, "dashboard.svg"), []byte(draw(t, native)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if answer := load.failed.Load(); answer != nil {
		t.Errorf("the answer to a good request is %q", *answer)
	}
}
