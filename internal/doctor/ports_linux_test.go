package doctor

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestDoctor_SeesTheListenersOfThisProcess(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil && address == "[::1]:0" && os.Getenv("CI") == "" {
			t.Skipf("this machine has no IPv6: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all, err := listeners()
		if err != nil {
			t.Fatal(err)
		}
		at := netip.MustParseAddrPort(l.Addr().String())
		if !slices.ContainsFunc(all, func(found listener) bool {
			return found.addr == at && found.own && strings.HasSuffix(found.process, "(process "+strconv.Itoa(os.Getpid())+")")
		}) {
			t.Errorf("there is no listener at %s in %v", at, all)
		}
	}
}
