// Package testutil has helpers for the tests of several packages.
package testutil

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// ports counts the ports that FreePort has tried. Each test process begins at a random
// port, so that two processes rarely try the same port.
var ports = func() *atomic.Uint32 {
	var next atomic.Uint32
	next.Store(rand.Uint32N(portCount)) //nolint:gosec // a port is no secret
	return &next
}()

// FreePort tries only ports below those that operating systems choose for outgoing
// connections. So no connection takes a port before the server of a test listens on it.
const (
	firstPort = 12_000
	portCount = 20_000
)

// FreePort returns a port on which nothing listens. Each call goes on after the last
// port that was tried. So one test process tries a port again only after all 20,000
// ports. A call returns an error if 100 ports in a row are in use.
func FreePort() (string, error) {
	for range 100 {
		port := strconv.Itoa(int(firstPort + ports.Add(1)%portCount))
		listener, err := net.Listen("tcp", ":"+port) //nolint:noctx // nothing waits
		if err == nil {
			return port, listener.Close()
		}
	}
	return "", errors.New("none of 100 ports is free")
}
