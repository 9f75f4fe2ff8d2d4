//go:build !race

package console

const withRace = false // the race detector is in this test
