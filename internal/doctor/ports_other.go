//go:build !linux

package doctor

import "errors"

// listeners returns the TCP sockets of this machine that listen.
func listeners() ([]listener, error) {
	return nil, errors.New("this system does not tell which processes listen on a port")
}

// usersOf returns no process: this system does not tell which processes have a file open.
func usersOf(string) []string { return nil }
