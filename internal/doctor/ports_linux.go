package doctor

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listeners returns the TCP sockets of this machine that listen.
func listeners() (all []listener, err error) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(name) //nolint:gosec // one of two paths of the kernel
		if err != nil {
			if errors.Is(err, os.ErrNotExist) && name == "/proc/net/tcp6" {
				continue // a machine without IPv6
			}
			return nil, fmt.Errorf("the listeners of this machine cannot be read: %w", err)
		}
		scanner := bufio.NewScanner(file)
		for scanner.Scan() {
			if l, ok := parseListener(scanner.Text()); ok {
				all = append(all, l)
			}
		}
		_ = file.Close() // it was only read
	}
	owners := owners(all)
	for i := range all {
		owner := owners[all[i].inode]
		all[i].process, all[i].own = owner.process, owner.own
	}
	return all, nil
}

// parseListener reads a line of /proc/net/tcp. It returns false if the socket does not listen.
func parseListener(line string) (l listener, ok bool) {
	const listening = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listening {
		return l, false
	}
	host, port, _ := strings.Cut(fields[1], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return l, false
	}
	address, err := hex.DecodeString(host)
	if err != nil || len(address)%4 != 0 {
		return l, false
	}
	for i := 0; i < len(address); i += 4 { // words in the order of this machine
		binary.BigEndian.PutUint32(address[i:], binary.NativeEndian.Uint32(address[i:]))
	}
	addr, ok := netip.AddrFromSlice(address)
	return listener{addr: netip.AddrPortFrom(addr, uint16(number)), inode: fields[9]}, ok
}

// owner is a process that has a socket. The fields are as in listener.
type owner struct {
	process string
	own     bool
}

// owners returns the processes of sockets, by inode. A user sees the sockets of its own processes
// only, and root sees all. If several processes have one socket, one with this program comes first.
func owners(all []listener) map[string]owner {
	wanted := make(map[string]bool)
	for _, l := range all {
		wanted[l.inode] = true
	}
	found := make(map[string]owner)
	files, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*") // the pattern is valid
	for _, file := range files {
		target, err := os.Readlink(file)
		if err != nil {
			continue
		}
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		inode = strings.TrimSuffix(inode, "]")
		if !isSocket || !wanted[inode] || found[inode].own {
			continue
		}
		pid := strings.Split(file, "/")[2]
		if own := runsThisProgram(pid); own || found[inode].process == "" {
			found[inode] = owner{processName(pid), own}
		}
	}
	return found
}

// runsThisProgram reports whether a process runs the file of this process, or one of the same name, such as
// an older version.
func runsThisProgram(pid string) bool {
	const link = "/exe"
	theirs, err := os.Readlink("/proc/" + pid + link)
	if err != nil {
		return false
	}
	ours, err := os.Readlink("/proc/self" + link)
	if err != nil {
		return false
	}
	if filepath.Base(strings.TrimSuffix(theirs, " (deleted)")) == filepath.Base(ours) {
		return true
	}
	a, err := os.Stat("/proc/" + pid + link)
	if err != nil {
		return false
	}
	b, err := os.Stat("/proc/self" + link)
	return err == nil && os.SameFile(a, b)
}
