//go:build linux

package netnstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

const (
	device     = "/dev/net/tun"
	packetSize = 1500 // of the largest packet
)

// Quality is how a link carries packets. The zero value is a perfect link.
type Quality struct {
	Delay  time.Duration // of a packet, one way
	Jitter time.Duration // how much a packet's delay is more or less than Delay, at most. Packets overtake each other.
	Loss   float64       // the share of the packets that are lost; 1 cuts the link without an error on either side
}

// Cut is a link that loses all packets.
var Cut = Quality{Loss: 1} //nolint:gochecknoglobals // never changed

// Network is a network of machines. Its methods may be called concurrently.
type Network struct {
	mu       sync.RWMutex
	machines int
	route    map[netip.Addr]*Machine
	links    map[[2]*Machine]Quality
	closed   bool
	carriers sync.WaitGroup // one for each device
	delayed  sync.WaitGroup // packets on their way
}

// Environment is the name of the environment variable without which New skips the test. The tests need
// root, and what they measure is wrong while other tests use the processor.
const Environment = "SPEECHGATE_MACHINES"

// New makes an empty network, which ends with the test. If [Environment] is not set, New skips the test.
func New(t testing.TB) *Network {
	t.Helper()
	if os.Getenv(Environment) == "" {
		t.Skip("it makes network namespaces, as root, and needs the machine for itself: set " + Environment + "=1")
	}
	n := &Network{route: make(map[netip.Addr]*Machine), links: make(map[[2]*Machine]Quality)}
	t.Cleanup(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.carriers.Wait() // the cleanups of the machines came first
		n.delayed.Wait()
	})
	return n
}

// Link says how packets travel between two machines, in both directions.
func (n *Network) Link(a, b *Machine, q Quality) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[[2]*Machine{a, b}], n.links[[2]*Machine{b, a}] = q, q
}

// Give makes a machine the owner of an additional address, which another machine may have owned. The
// machine must have the address: see [Machine.Adopt].
func (n *Network) Give(address string, to *Machine) error {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.route[addr] = to
	return nil
}

// carry takes what a machine sends to the machines that it sends to, until the device is closed.
func (n *Network) carry(from *Machine) {
	defer n.carriers.Done()
	packet := make([]byte, packetSize)
	for {
		length, err := from.device.Read(packet)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || length < 20 || packet[0]>>4 != 4 {
			continue // the interface is down, or it is no packet of IPv4
		}
		n.deliver(from, netip.AddrFrom4([4]byte(packet[16:20])), packet[:length])
	}
}

// deliver brings a packet to the owner of an address, unless the link loses it. The caller may change the
// packet afterwards.
func (n *Network) deliver(from *Machine, address netip.Addr, packet []byte) {
	n.mu.RLock()
	to := n.route[address]
	q := n.links[[2]*Machine{from, to}]
	lost := n.closed || to == nil || q.Loss > 0 && rand.Float64() < q.Loss //nolint:gosec // no secret
	if !lost && q.Delay > 0 {
		n.delayed.Add(1) // with the lock, so before the end of the network
	}
	n.mu.RUnlock()
	if lost {
		return
	}
	if q.Delay <= 0 {
		_, _ = to.device.Write(packet) // an interface that is down loses it
		return
	}
	delay := q.Delay
	if q.Jitter > 0 {
		delay += rand.N(2*q.Jitter) - q.Jitter //nolint:gosec // no secret
	}
	held := append([]byte(nil), packet...)
	time.AfterFunc(delay, func() {
		defer n.delayed.Done()
		_, _ = to.device.Write(held)
	})
}

// Machine adds a machine with an address of its own. It ends with the test t, before which everything that
// was started in it must have ended.
func (n *Network) Machine(t testing.TB, name string) *Machine {
	t.Helper()
	n.mu.Lock()
	n.machines++
	addr := netip.AddrFrom4([4]byte{10, 0, byte(n.machines >> 8), byte(n.machines)})
	n.mu.Unlock()
	m := &Machine{name: name, addr: addr}
	if err := m.make(); err != nil {
		t.Fatal(fmt.Errorf("the machine %s: %w", name, err))
	}
	n.mu.Lock()
	n.route[addr] = m
	n.mu.Unlock()
	n.carriers.Add(1)
	go n.carry(m)
	t.Cleanup(func() {
		if err := m.close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
