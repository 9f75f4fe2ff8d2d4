//go:build race

package gate

// raceAllocations is how many allocations the race detector adds to a request at most.
const raceAllocations = 5
