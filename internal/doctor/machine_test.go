package doctor

import (
	"net/netip"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// want checks that an examination has one finding, with this level and this part of the message.
func want(t *testing.T, e *examination, check Check, level Level, part string) {
	t.Helper()
	if len(e.found) != 1 {
		t.Fatalf("want one finding, got %+v", e.found)
	}
	if f := e.found[0]; f.Check != check || f.Level != level || !strings.Contains(f.Message, part) || (f.Fix != nil) != (level == Warn || level == Fail) {
		t.Errorf("want %s %s %q, got %+v", level, check, part, f)
	}
}

func TestDoctor_FindsABuildWithoutCgo(t *testing.T) {
	t.Parallel()
	for value, level := range map[string]Level{"0": Fail, "1": Pass} {
		var e examination
		e.checkBuildSettings([]debug.BuildSetting{{Key: "-tags", Value: "x"}, {Key: "CGO_ENABLED", Value: value}})
		want(t, &e, CheckCgo, level, "cgo")
	}
}

func TestDoctor_FindsAFullDisk(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		free  int64
		level Level
		part  string
	}{
		{-1, Skip, "does not tell"},
		{0, Fail, "only revocations are written"},
		{16<<20 - 1, Fail, "only revocations are written"},
		{16 << 20, Warn, "16 MiB left. Under 16 MiB"},
		{lowDisk - 1, Warn, "left"},
		{lowDisk, Pass, "256 MiB left"},
	} {
		var e examination
		e.checkDisk(keystore.Condition{Free: test.free, Kept: 16 << 20})
		want(t, &e, CheckDisk, test.level, test.part)
	}
}

func TestDoctor_FindsASecondServerOnAPort(t *testing.T) {
	t.Parallel()
	on := func(addr, inode, process string) listener {
		return listener{netip.MustParseAddrPort(addr), inode, process, strings.HasPrefix(process, "caddy")}
	}
	for name, test := range map[string]struct {
		all   []listener
		level Level
		part  string
	}{
		"nobody listens":                    {nil, Pass, "No two"},
		"one server":                        {[]listener{on("[::]:8080", "1", "caddy (process 1)")}, Pass, "No two"},
		"workers with one socket":           {[]listener{on("0.0.0.0:8080", "1", "nginx (process 1)"), on("0.0.0.0:8080", "1", "nginx (process 1)")}, Pass, "No two"},
		"one server with two sockets":       {[]listener{on("0.0.0.0:8080", "1", "caddy (process 1)"), on("0.0.0.0:8080", "2", "caddy (process 1)")}, Pass, "No two"},
		"servers on two addresses":          {[]listener{on("127.0.0.1:8080", "1", "a (process 1)"), on("127.0.0.2:8080", "2", "b (process 2)")}, Pass, "No two"},
		"servers for IPv4 and IPv6":         {[]listener{on("0.0.0.0:8080", "1", "a (process 1)"), on("[::1]:8080", "2", "b (process 2)")}, Pass, "No two"},
		"servers on another port":           {[]listener{on("0.0.0.0:9090", "1", "a (process 1)"), on("0.0.0.0:9090", "2", "b (process 2)")}, Pass, "No two"},
		"two servers":                       {[]listener{on("[::]:8080", "1", "caddy (process 1)"), on("[::]:8080", "2", "caddy (process 2)")}, Fail, "caddy (process 1), caddy (process 2)"},
		"a server on one of the addresses":  {[]listener{on("[::]:8080", "1", "caddy (process 1)"), on("127.0.0.1:8080", "2", "nc (process 2)")}, Fail, "caddy (process 1), nc (process 2)"},
		"a server of another user":          {[]listener{on("[::]:8080", "1", "caddy (process 1)"), on("[::]:8080", "2", "")}, Fail, "caddy (process 1), a process of another user"},
		"sockets whose owners are not seen": {[]listener{on("[::]:8080", "1", ""), on("[::]:8080", "2", "")}, Warn, "There are 2 listeners"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := examination{Subject: Subject{Server: &canaryServer{}}, listen: []string{":8080", "udp/:8080", "unix//run/x.sock"}}
			e.checkListeners(test.all)
			want(t, &e, CheckPorts, test.level, test.part)
		})
	}
}

// If the gateway does not run, another program can have its port.
func TestDoctor_FindsAnotherProgramOnAPort(t *testing.T) {
	t.Parallel()
	on := func(addr, process string, own bool) listener {
		return listener{netip.MustParseAddrPort(addr), addr + process, process, own}
	}
	for name, test := range map[string]struct {
		listen string
		all    []listener
		level  Level
		part   string
	}{
		"the gateway":                      {":8080", []listener{on("[::]:8080", "caddy (process 1)", true)}, Pass, "no other program"},
		"another program":                  {":8080", []listener{on("[::]:8080", "nginx (process 1)", false)}, Fail, "Another program listens on the port, and clients send it their keys: nginx (process 1)."},
		"another program, at one address":  {":8080", []listener{on("127.0.0.1:8080", "nginx (process 1)", false)}, Fail, "nginx (process 1)"},
		"another program, on this machine": {"localhost:8080", []listener{on("0.0.0.0:8080", "nginx (process 1)", false)}, Fail, "nginx (process 1)"},
		"another program, elsewhere":       {"127.0.0.1:8080", []listener{on("127.0.0.2:8080", "nginx (process 1)", false)}, Pass, "no other program"},
		"another program, another port":    {":8080", []listener{on("[::]:8081", "nginx (process 1)", false)}, Pass, "no other program"},
		"a process of another user":        {":8080", []listener{on("[::]:8080", "", false)}, Warn, "cannot see whether it is the gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := examination{listen: []string{test.listen, "unix//run/x.sock"}}
			e.checkListeners(test.all)
			want(t, &e, CheckPorts, test.level, test.part)
		})
	}
}
