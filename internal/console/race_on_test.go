//go:build race

package console

const withRace = true // the race detector is in this test
