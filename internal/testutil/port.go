// Package testutil has helpers for the tests of several packages.
package testutil

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// ports gives out ports. Each test process begins at another port, so that two of them
// rarely try the same.
var ports = func() *atomic.Uint32 {
	var next atomic.Uint32
	next.Store(rand.Uint32N(portCount)) //nolint:gosec // a port is no secret
	return &next
}()

// The ports are below those that systems give out by themselves, so that no connection
// takes one before a server listens on it.
const (
	firstPort = 12_000
	portCount = 20_000
)

// FreePort returns a port on which nothing listens. It returns no port twice before it
// has returned 20,000. The error says that it found none.
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
