package e2e_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

// HAProxy takes a gateway out whose keystore is lost, and in again when the keystore is back. The lines
// are those of docs/operations.md, with shorter times.
func TestR17_ALoadBalancerAvoidsAGatewayWithoutItsKeystore(t *testing.T) {
	t.Parallel()
	gateway := func(name string) *program {
		p := newProgram(t, `{
			admin localhost:2019
		}
		http://localhost:8080 {
			header X-Gateway `+name+`
			speechgate_health
			speechgate amivoice
			respond 500
		}`)
		p.start()
		return p
	}
	one, two := gateway("one"), gateway("two")
	address := func(p *program) string {
		return strings.Replace(strings.TrimPrefix(p.base, "http://"), "localhost", "127.0.0.1", 1)
	}
	balancer := startHAProxy(t, "option httpchk", "http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host localhost",
		"http-check expect string ok", "default-server check inter 100ms fall 2 rise 2",
		"server one "+address(one), "server two "+address(two))
	// answers has the gateways of ten requests in turn.
	answers := func() string {
		seen := make(map[string]bool)
		for range 10 {
			req, err := http.NewRequest(http.MethodGet, "http://"+balancer+"/v2/recognitions/unknown", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "localhost"
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			seen[resp.Header.Get("X-Gateway")+" "+resp.Status] = true
		}
		var all []string
		for _, answer := range []string{"one 401 Unauthorized", "two 401 Unauthorized"} {
			if seen[answer] {
				all = append(all, answer)
				delete(seen, answer)
			}
		}
		if len(seen) > 0 {
			all = append(all, "others")
		}
		return strings.Join(all, ", ")
	}
	const both = "one 401 Unauthorized, two 401 Unauthorized"
	one.eventually("both gateways answer", func() bool { return answers() == both })
	if err := os.Rename(one.store(), one.store()+".away"); err != nil {
		t.Fatal(err)
	}
	one.eventually("only the second gateway answers", func() bool { return answers() == "two 401 Unauthorized" })
	if err := os.Rename(one.store()+".away", one.store()); err != nil {
		t.Fatal(err)
	}
	one.eventually("both gateways answer again", func() bool { return answers() == both })
}
