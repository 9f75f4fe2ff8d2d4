package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// monitoring is the directory of the files that operators give to Prometheus and Grafana.
const monitoring = "../docs/monitoring"

// panel is a panel of the dashboard.
type panel struct {
	Title       string `json:"title"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	} `json:"targets"`
}

func dashboard(t *testing.T) []panel {
	t.Helper()
	var board struct {
		Panels []panel `json:"panels"`
	}
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	return board.Panels
}

var alertName = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)

func TestPrometheusAcceptsTheRules(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"},
		{"check", "rules", "rules.yml"},
		{"test", "rules", "rules_test.yml"},
	} {
		cmd := exec.Command(tool(t, "promtool"), args...)
		cmd.Dir = monitoring
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Each alarm is planted, and has a row in the table of alarms.
	rules, err := os.ReadFile(filepath.Join(monitoring, "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	planted, err := os.ReadFile(filepath.Join(monitoring, "rules_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := alertName.FindAllStringSubmatch(string(rules), -1)
	if len(alerts) < 10 {
		t.Errorf("rules.yml has %d alarms: does the test find them?", len(alerts))
	}
	for _, alert := range alerts {
		if !strings.Contains(string(planted), "  - name: "+alert[1]+"\n") {
			t.Errorf("rules_test.yml has no fault for %s", alert[1])
		}
		if !strings.Contains(string(page), "`"+alert[1]+"`") {
			t.Errorf("docs/metrics.md does not say what to do about %s", alert[1])
		}
	}
}

// prometheus is a Prometheus that scrapes a gateway.
type prometheus struct {
	t    *testing.T
	addr string
}

// startPrometheus starts a Prometheus that scrapes the admin API at an address every second, and
// evaluates the rules.
func startPrometheus(t *testing.T, admin string, options ...string) *prometheus {
	t.Helper()
	config, err := os.ReadFile(filepath.Join(monitoring, "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(filepath.Join(monitoring, "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := clientFile(t, "prometheus", strings.NewReplacer(
		"15s", "1s", "- rules.yml", "- "+rules, "localhost:2019", admin).Replace(string(config)))
	addr := "127.0.0.1:" + port(t)
	startNeighbour(t, addr, exec.Command(tool(t, "prometheus"), append([]string{
		"--config.file=" + file, "--storage.tsdb.path=" + dir, "--web.listen-address=" + addr, "--log.level=warn",
	}, options...)...))
	p := &prometheus{t, addr}
	for deadline := time.Now().Add(20 * time.Second); !p.ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Prometheus listens, and is not ready after 20 s")
		}
	}
	return p
}

// ready reports whether Prometheus answers queries. Until then, it answers with 503.
func (p *prometheus) ready() bool {
	resp, err := http.Get("http://" + p.addr + "/-/ready")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// series is one time series of an answer.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  sample            `json:"value"`
	Values []sample          `json:"values"`
}

// sample is a value at an instant, in seconds since 1970.
type sample struct{ at, value float64 }

// UnmarshalJSON reads the form [instant, "value"].
func (s *sample) UnmarshalJSON(text []byte) (err error) {
	var raw [2]any
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	s.at, _ = raw[0].(float64)
	value, _ := raw[1].(string)
	s.value, err = strconv.ParseFloat(value, 64)
	return err
}

// rules returns the rules that Prometheus evaluates, and fails if one has failed.
func (p *prometheus) rules() (records []string) {
	p.t.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Type, Health, LastError string } `json:"rules"`
			} `json:"groups"`
		} `json:"data"`
	}
	p.get("/api/v1/rules", nil, &answer)
	for _, r := range answer.Data.Groups[0].Rules {
		if r.Health == "err" {
			p.t.Errorf("the rule %s: %s", r.Name, r.LastError)
		}
		if r.Type == "recording" {
			records = append(records, r.Name)
		}
	}
	return records
}

// get reads an answer of Prometheus.
func (p *prometheus) get(path string, args url.Values, into any) {
	p.t.Helper()
	resp, err := http.Get("http://" + p.addr + path + "?" + args.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s %v: status %d, %s, %v", path, args, resp.StatusCode, body, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		p.t.Fatalf("%s %v: %v", path, args, err)
	}
}

// query evaluates a query now or, with a span, over the last time.
func (p *prometheus) query(expr string, span time.Duration) []series {
	p.t.Helper()
	expr = strings.ReplaceAll(expr, "$__rate_interval", "10s")
	path, args := "/api/v1/query", url.Values{"query": {expr}}
	if span > 0 {
		now := time.Now()
		path += "_range"
		args.Set("start", strconv.FormatInt(now.Add(-span).Unix(), 10))
		args.Set("end", strconv.FormatInt(now.Unix(), 10))
		args.Set("step", "1")
	}
	var answer struct {
		Data struct {
			Result []series `json:"result"`
		} `json:"data"`
	}
	p.get(path, args, &answer)
	return answer.Data.Result
}
