//go:build !linux

// Command bench measures what the gate costs. It pins processes to cores and
// reads the kernel's accounts of them, for which it needs Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: this needs Linux")
	os.Exit(1)
}
