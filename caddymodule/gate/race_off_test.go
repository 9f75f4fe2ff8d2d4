//go:build !race

package gate

const raceAllocations = 0
