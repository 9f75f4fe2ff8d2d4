package e2e_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The span of a request says what the gate has decided. No span has the client's key.
func TestASpanHasTheDecision(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, strings.Replace(string(example), "\tspeechgate amivoice {", "\ttracing {\n\t\tspan gate\n\t}\n\tspeechgate amivoice {", 1))
	p.env = []string{"OTEL_TRACES_EXPORTER=console"}
	p.start()
	const secret = "nobodys-key-0123456789"
	if status, _ := p.poll("unknown?u="+secret, secret); status != http.StatusUnauthorized {
		t.Fatalf("status %d", status)
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // the exporter prints what it has
	_ = p.cmd.Wait()
	p.cmd = nil
	output := p.output.String()
	for name, value := range map[string]string{
		"reason": "key_unknown", "operation": "read_job", "backend": "amivoice", "key_id": "", "account_id": "",
	} {
		attribute := regexp.MustCompile(`\{"Key":"speechgate\.` + name + `","Value":\{"Type":"STRING","Value":"` + value + `"\}\}`)
		if !attribute.MatchString(output) {
			t.Errorf("no span has speechgate.%s %q:\n%s", name, value, output)
		}
	}
	if strings.Contains(output, secret) {
		t.Errorf("the output has the key:\n%s", output)
	}
}
