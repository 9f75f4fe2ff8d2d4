package doctor

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// listener is a socket on which a process of this machine accepts connections.
type listener struct {
	addr    netip.AddrPort
	inode   string
	process string // "name (process 123)"; empty if this user cannot see whose socket it is
	own     bool   // the process runs the same program as this one: probably the gateway
}

// checkPorts looks for ports of the configuration on which several processes listen. Caddy shares its
// ports (SO_REUSEPORT), so a second server starts without an error, and gets every second
// connection. It also looks for another program that listens alone, while the gateway does not run.
func (e *examination) checkPorts() {
	if !e.loaded {
		e.add(CheckPorts, Skip, "", "The configuration cannot be loaded, so it does not say on which ports the server listens.", "")
		return
	}
	all, err := listeners()
	if err != nil {
		e.add(CheckPorts, Skip, "", sentence(err.Error()), "")
		return
	}
	e.checkListeners(all)
}

func (e *examination) checkListeners(all []listener) {
	seen := make(map[uint16]bool)
	for _, listen := range e.listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil || address.IsUnixNetwork() {
			continue
		}
		for port := address.StartPort; port <= address.EndPort && port-address.StartPort < 100; port++ {
			if number := uint16(port); !seen[number] {
				seen[number] = true
				e.checkPort(number, all)
				e.checkForeign(netip.AddrPortFrom(hostOf(address), number), all)
			}
		}
	}
	e.passUnlessFound(CheckPorts, "No two processes listen on one port of the configuration, and no other program does.")
}

func (e *examination) checkPort(port uint16, all []listener) {
	processes := make(map[string]bool)
	unknown := 0
	on := slices.DeleteFunc(slices.Clone(all), func(l listener) bool { return l.addr.Port() != port })
	for i, l := range on {
		shared := slices.ContainsFunc(on, func(other listener) bool { return other.inode != l.inode && overlap(l.addr.Addr(), other.addr.Addr()) })
		switch {
		case !shared || slices.ContainsFunc(on[:i], func(other listener) bool { return other.inode == l.inode }):
		case l.process == "":
			unknown++
		default:
			processes[l.process] = true
		}
	}
	names := slices.Sorted(maps.Keys(processes))
	subject := fmt.Sprintf("port %d", port)
	const remedy = "Stop the server that should not be there, or give it another port."
	switch {
	case len(names) > 1 || len(names) == 1 && unknown > 0:
		if unknown > 0 {
			names = append(names, "a process of another user")
		}
		e.add(CheckPorts, Fail, subject, "Several processes listen on the port, and connections go to one of them by chance: "+strings.Join(names, ", ")+".", remedy)
	case unknown > 1:
		e.add(CheckPorts, Warn, subject, fmt.Sprintf("There are %d listeners on the port. This user cannot see whether they are one process.", unknown), "Run the command as root or as the user of the server, and look again. "+remedy)
	}
}

// hostOf returns the IP address on which a server listens. Without one, it is every address.
func hostOf(address caddy.NetworkAddress) netip.Addr {
	if strings.EqualFold(address.Host, "localhost") {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if addr, err := netip.ParseAddr(strings.Trim(address.Host, "[]")); err == nil {
		return addr
	}
	return netip.IPv6Unspecified()
}

// checkForeign looks for a program that listens at an address of the configuration, if no server runs and no
// other fault of the port is known.
func (e *examination) checkForeign(at netip.AddrPort, all []listener) {
	subject := fmt.Sprintf("port %d", at.Port())
	if e.Server != nil || slices.ContainsFunc(e.found, func(f Finding) bool { return f.Check == CheckPorts && f.Subject == subject }) {
		return
	}
	var process string
	for _, l := range all {
		switch {
		case l.addr.Port() != at.Port() || !overlap(l.addr.Addr(), at.Addr()):
		case l.own:
			return
		case l.process == "":
			e.add(CheckPorts, Warn, subject, "A process of another user listens on the port. This user cannot see whether it is the gateway.",
				"Run the command as root or as the user of the server, and look again.")
			return
		default:
			process = l.process
		}
	}
	if process != "" {
		e.add(CheckPorts, Fail, subject, "Another program listens on the port, and clients send it their keys: "+process+".", "Stop the program, or give it another port.")
	}
}

// overlap reports whether one connection could come to both addresses.
func overlap(a, b netip.Addr) bool {
	a, b = a.Unmap(), b.Unmap()
	return a == b || a.IsUnspecified() && (a.Is6() || b.Is4()) || b.IsUnspecified() && (b.Is6() || a.Is4())
}
