package e2e_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// startNginx starts an nginx in front of the gateway, with what docs/proxies.md says that
// it needs, and returns its address.
func startNginx(t *testing.T, gate, options string) string {
	t.Helper()
	return startNginxServer(t, `
		client_max_body_size 0;
		location / {
			proxy_pass http://`+gate+`;
			`+options+`
		}
`)
}

// startNginxServer starts an nginx whose server has these lines, and returns its address.
func startNginxServer(t *testing.T, lines string) string {
	t.Helper()
	addr := "127.0.0.1:" + port(t)
	dir := t.TempDir()
	config := clientFile(t, "nginx", `
daemon off;
master_process off;
pid `+dir+`/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path `+dir+`/body;
	proxy_temp_path `+dir+`/proxy;
	fastcgi_temp_path `+dir+`/fastcgi;
	uwsgi_temp_path `+dir+`/uwsgi;
	scgi_temp_path `+dir+`/scgi;
	server {
		listen `+addr+`;
`+lines+`
	}
}
`)
	startNeighbour(t, addr, exec.Command(tool(t, "nginx", "/usr/sbin/nginx"), "-p", dir, "-c", config))
	return addr
}

// startHAProxy starts an HAProxy whose backend has these lines, and returns its address.
func startHAProxy(t *testing.T, backend ...string) string {
	t.Helper()
	addr := "127.0.0.1:" + port(t)
	config := clientFile(t, "haproxy", `
global
	h1-case-adjust x-session-id X-Session-ID
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
frontend in
	bind `+addr+`
	option h1-case-adjust-bogus-client
	default_backend gate
backend gate
	option forwardfor
	`+strings.Join(backend, "\n\t")+`
`)
	startNeighbour(t, addr, exec.Command(tool(t, "haproxy", "/usr/sbin/haproxy"), "-db", "-f", config))
	return addr
}

// startTCPHAProxy starts an HAProxy in TCP mode in front of the gateway, as docs/proxies.md says, and returns
// its address.
func startTCPHAProxy(t *testing.T, gate string) string {
	t.Helper()
	addr := "127.0.0.1:" + port(t)
	lines := strings.NewReplacer("bind :443", "bind "+addr, "10.0.0.5:8443", gate).Replace(codeAfter(t, "proxies.md", "listen speech"))
	config := clientFile(t, "haproxy", "defaults\n\ttimeout connect 5s\n"+lines)
	startNeighbour(t, addr, exec.Command(tool(t, "haproxy", "/usr/sbin/haproxy"), "-db", "-f", config))
	return addr
}

// startApache starts an Apache HTTP Server in front of the gateway, with the directives of
// docs/proxies.md, and returns its address.
func startApache(t *testing.T, gate string) string {
	t.Helper()
	addr := "127.0.0.1:" + port(t)
	dir := t.TempDir()
	program := tool(t, "apache2", "/usr/sbin/apache2")
	directives := strings.Replace(codeAfter(t, "proxies.md", "ProxyPass / http://127.0.0.1:8080/ upgrade=websocket"), "127.0.0.1:8080", gate, 1)
	config := clientFile(t, "apache", `
ServerRoot `+dir+`
ServerName localhost
DefaultRuntimeDir `+dir+`
PidFile `+dir+`/pid
ErrorLog `+dir+`/error.log
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
Listen `+addr+`
`+directives)
	startNeighbour(t, addr, exec.Command(program, "-X", "-f", config))
	return addr
}

// startNeighbour runs another server until the test ends, and waits until it listens.
func startNeighbour(t *testing.T, addr string, cmd *exec.Cmd) {
	t.Helper()
	output := new(safeBuffer)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the output of %s:\n%s", cmd.Path, output)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v; its output:\n%s", cmd.Path, err, output)
		}
	}
}
