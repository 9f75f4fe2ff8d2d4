//go:build race

package keystore

// raceEnabled: the race detector allocates by itself.
const raceEnabled = true
