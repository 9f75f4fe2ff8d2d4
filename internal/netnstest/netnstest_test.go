//go:build linux

package netnstest

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// echo listens at the port 7 of all of a machine's addresses, and sends back what comes.
func echo(t *testing.T, m *Machine) {
	t.Helper()
	var listener net.Listener
	m.Do(t, func() {
		var err error
		if listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp4", ":7"); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
}

func dial(t *testing.T, m *Machine, address string, patience time.Duration) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := m.DialContext(ctx, "tcp", address+":7")
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

// trip sends some text, waits for it, and returns how long that took.
func trip(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	begun := time.Now()
	if _, err := io.WriteString(conn, "echo"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(begun.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	return time.Since(begun)
}

func TestMachines_ReachEachOtherAndNothingElse(t *testing.T) {
	t.Parallel()
	network := New(t)
	server, client := network.Machine(t, "server"), network.Machine(t, "client")
	echo(t, server)
	conn, err := dial(t, client, server.Addr(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	trip(t, conn)
	if from, _, _ := net.SplitHostPort(conn.LocalAddr().String()); from != client.Addr() {
		t.Errorf("the connection comes from %s, want %s", from, client.Addr())
	}
	if _, err := dial(t, client, "192.0.2.1", time.Minute); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("reaching a network outside: %v, want that it is unreachable", err)
	}
	if _, err := dial(t, server, "127.0.0.1", time.Minute); err != nil {
		t.Errorf("a machine does not reach itself: %v", err)
	}
	var names []byte
	client.Do(t, func() {
		if names, err = exec.CommandContext(t.Context(), "cat", "/proc/net/dev").Output(); err != nil {
			t.Fatal(err)
		}
	})
	if text := string(names); !strings.Contains(text, wire+":") || strings.Count(text, ":") != 2 {
		t.Errorf("a command in the machine sees other interfaces than lo and %s:\n%s", wire, text)
	}
}

func TestLink_DelaysLosesAndHeals(t *testing.T) {
	t.Parallel()
	network := New(t)
	server, client := network.Machine(t, "server"), network.Machine(t, "client")
	echo(t, server)
	conn, err := dial(t, client, server.Addr(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	network.Link(client, server, Quality{Delay: 50 * time.Millisecond, Jitter: 10 * time.Millisecond})
	if took := trip(t, conn); took < 80*time.Millisecond {
		t.Errorf("with 40 to 60 ms each way, an echo took %s", took)
	}
	network.Link(client, server, Quality{Loss: 0.2})
	for range 10 {
		trip(t, conn) // TCP repeats what was lost
	}
	network.Link(server, client, Cut)
	if _, err := dial(t, client, server.Addr(), 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connecting through a cut link: %v, want no answer", err)
	}
	network.Link(server, client, Quality{})
	trip(t, conn)
}

func TestSetUp_OfAnInterfaceThatIsDownGivesErrors(t *testing.T) {
	t.Parallel()
	network := New(t)
	server, client := network.Machine(t, "server"), network.Machine(t, "client")
	echo(t, server)
	client.SetUp(t, false)
	if _, err := dial(t, client, server.Addr(), time.Minute); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("connecting while the interface is down: %v, want that the network is unreachable", err)
	}
	client.SetUp(t, true)
	conn, err := dial(t, client, server.Addr(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	trip(t, conn)
}

func TestGive_MovesAnAddress(t *testing.T) {
	t.Parallel()
	const address = "10.0.9.9"
	network := New(t)
	one, other, client := network.Machine(t, "one"), network.Machine(t, "other"), network.Machine(t, "client")
	for _, m := range []*Machine{one, other} {
		m.Adopt(t, address)
		echo(t, m)
	}
	give := func(m *Machine) {
		t.Helper()
		if err := network.Give(address, m); err != nil {
			t.Fatal(err)
		}
	}
	give(one)
	conn, err := dial(t, client, address, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	trip(t, conn)
	give(other)
	if _, err := io.WriteString(conn, "echo"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection to the owner before: %v, want that it is reset", err)
	}
	if conn, err = dial(t, client, address, time.Minute); err != nil {
		t.Fatal(err)
	}
	trip(t, conn)
}
