//go:build !linux

// Command bench measures the cost of the gate. It needs Linux, because it pins processes
// to cores and reads the kernel's statistics of processes.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: this needs Linux")
	os.Exit(1)
}
