//go:build linux

package netnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Machine is a network namespace with an interface to the network, and the loopback interface.
type Machine struct {
	name      string
	addr      netip.Addr
	namespace *os.File
	device    *os.File
	adopted   int // how many addresses it has from Adopt
}

const (
	wire     = "wire0" // the interface to the network
	loopback = "lo"
)

// Addr returns the machine's address, such as "10.0.0.1".
func (m *Machine) Addr() string { return m.addr.String() }

// String returns the machine's name.
func (m *Machine) String() string { return m.name }

// Do calls f in the machine: sockets that f opens in the calling goroutine, and commands that it starts,
// are the machine's. Sockets that f opens in other goroutines are not.
func (m *Machine) Do(t testing.TB, f func()) {
	t.Helper()
	if err := m.do(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// do calls f in a thread that is in the namespace.
func (m *Machine) do(f func() error) error {
	return inOwnThread(func() error { return unix.Setns(int(m.namespace.Fd()), unix.CLONE_NEWNET) }, f)
}

// inOwnThread calls enter, which changes the namespace of the thread, and f in the same thread. The
// thread then gets its namespace back. If it cannot, no other goroutine uses it any more.
func inOwnThread(enter, f func() error) error {
	runtime.LockOSThread()
	before, err := openNamespace()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = before.Close() }() // it was only read
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	defer func() {
		if unix.Setns(int(before.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// openNamespace opens the network namespace of the calling thread.
func openNamespace() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

// DialContext connects from the machine. The address must be that of a machine, not a name.
func (m *Machine) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// SetUp makes the interface of the machine work, or not: then everything that the machine sends fails
// with an error, and what others send is lost.
func (m *Machine) SetUp(t testing.TB, up bool) {
	t.Helper()
	if err := m.do(func() error { return configure(func(c configuration) error { return c.setUp(wire, up) }) }); err != nil {
		t.Fatal(err)
	}
}

// Adopt gives the machine an additional address. Packets come to it after [Network.Give].
func (m *Machine) Adopt(t testing.TB, address string) {
	t.Helper()
	addr, err := netip.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s:%d", loopback, m.adopted)
	m.adopted++
	if err := m.do(func() error {
		return configure(func(c configuration) error {
			return c.setAddr(name, addr, netip.AddrFrom4([4]byte{255, 255, 255, 255}))
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// make makes the namespace and its interface.
func (m *Machine) make() error {
	err := inOwnThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		if m.namespace, err = openNamespace(); err != nil {
			return err
		}
		if m.device, err = openDevice(); err != nil {
			return err
		}
		return configure(func(c configuration) error {
			return errors.Join(
				c.setUp(loopback, true),
				c.setAddr(wire, m.addr, netip.AddrFrom4([4]byte{255, 255, 0, 0})),
				c.setUp(wire, true),
			)
		})
	})
	if err != nil {
		return errors.Join(err, m.close())
	}
	return nil
}

// close ends the machine. Nothing may be in it.
func (m *Machine) close() error {
	var err error
	for _, file := range []*os.File{m.device, m.namespace} {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
	}
	return err
}

// openDevice makes the interface in the namespace of the calling thread. What is read from the file is
// what the interface sends.
func openDevice() (*os.File, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	request, err := unix.NewIfreq(wire)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a TUN device: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), device), nil
}

// configuration is a socket through which the interfaces of a namespace are configured.
type configuration int

// configure calls use with a configuration of the calling thread's namespace.
func configure(use func(configuration) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(use(configuration(fd)), unix.Close(fd))
}

func (c configuration) setUp(name string, up bool) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(int(c), unix.SIOCGIFFLAGS, request); err != nil {
		return fmt.Errorf("the state of %s: %w", name, err)
	}
	flags := request.Uint16() &^ unix.IFF_UP
	if up {
		flags |= unix.IFF_UP
	}
	request.SetUint16(flags)
	if err := unix.IoctlIfreq(int(c), unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("setting the state of %s: %w", name, err)
	}
	return nil
}

func (c configuration) setAddr(name string, addr, mask netip.Addr) error {
	for _, step := range []struct {
		code  uint
		value netip.Addr
	}{{unix.SIOCSIFADDR, addr}, {unix.SIOCSIFNETMASK, mask}} {
		request, err := unix.NewIfreq(name)
		if err == nil {
			err = request.SetInet4Addr(step.value.AsSlice())
		}
		if err == nil {
			err = unix.IoctlIfreq(int(c), step.code, request)
		}
		if err != nil {
			return fmt.Errorf("giving %s to %s: %w", step.value, name, err)
		}
	}
	return nil
}
