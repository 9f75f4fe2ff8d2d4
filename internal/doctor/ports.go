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
}

// checkPorts looks for ports of the configuration on which several processes listen. Caddy shares its
// ports (SO_REUSEPORT), so a second server starts without an error, and gets every second
// connection.
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
			}
		}
	}
	e.passUnlessFound(CheckPorts, "No two processes listen on one port of the configuration.")
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

// overlap reports whether one connection could come to both addresses.
func overlap(a, b netip.Addr) bool {
	a, b = a.Unmap(), b.Unmap()
	return a == b || a.IsUnspecified() && (a.Is6() || b.Is4()) || b.IsUnspecified() && (b.Is6() || a.Is4())
}
