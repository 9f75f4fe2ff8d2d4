//go:build linux

package main

import (
	"math"
	"slices"
)

// median returns the median of values, and sorts them.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// interval returns a confidence interval for the median of the distribution that values
// are a sample of. The confidence is at least 95 % for every distribution, because each
// value is as likely below the median as above it. For fewer than six values there is no
// such interval, and interval returns their whole range.
func interval(values []float64) (low, high float64) {
	if len(values) == 0 {
		return math.NaN(), math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	// The probability that at most k values are below the median.
	chance, k := math.Pow(0.5, float64(n)), 0
	below := chance
	for {
		chance *= float64(n-k) / float64(k+1)
		if below+chance > 0.025 {
			break
		}
		k++
		below += chance
	}
	return values[k], values[n-1-k]
}
