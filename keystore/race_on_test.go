//go:build race

package keystore

// raceEnabled: the race detector allocates memory, so tests do not count allocations.
const raceEnabled = true
