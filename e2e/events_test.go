package e2e_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestTheWebhookOfTheEventsPageArrives runs the page's configuration and its receiver, which checks
// signatures.
func TestTheWebhookOfTheEventsPageArrives(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	const file = "../docs/examples/webhook/receive.py"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(block(t, page, "python")) != string(text) {
		t.Errorf("docs/events.md does not quote %s as it is", file)
	}
	listens := port(t)
	output := new(safeBuffer)
	receiver := exec.Command(tool(t, "python3"), file)
	receiver.Env = append(os.Environ(), "PORT="+listens, "WEBHOOK_SECRET="+webhookSecret)
	receiver.Stdout, receiver.Stderr = output, output
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = receiver.Process.Kill()
		_ = receiver.Wait()
	})

	caddyfile := strings.Replace(string(block(t, page, "caddyfile")), "{\n", "{\n\tadmin off\n", 1)
	p := newProgram(t, strings.ReplaceAll(caddyfile, ":8090/", ":"+listens+"/"))
	p.env = []string{"AMIVOICE_KEY=AbCdEfGh0123456789", "WEBHOOK_SECRET=" + webhookSecret}
	p.start()
	p.eventually("the receiver has a refusal", func() bool {
		return strings.Contains(output.String(), `speechgate.refused {"account_id": "", `) && strings.Contains(output.String(), `"reason": "key_unknown"`)
	})
	key, secret := p.key(p.account())
	p.run("key", "revoke", key)
	p.eventually("the receiver has the end of the key", func() bool {
		for line := range strings.Lines(output.String()) {
			if strings.HasPrefix(line, "speechgate.key_ended ") && strings.Contains(line, `"key_id": "`+key+`"`) && strings.Contains(line, `"reason": "key_revoked"`) {
				return true
			}
		}
		return false
	})
	p.kept(secret, webhookSecret)
}
