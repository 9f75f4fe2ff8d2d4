//go:build linux

package main

import (
	"math"
	"slices"
)

// median of values, which it sorts.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// interval is a confidence interval of the median of what values are a sample
// of: at least 95 %, whatever the distribution, since each value is as likely
// below the median as above. Fewer than six values cannot give one, and yield
// their whole range.
func interval(values []float64) (low, high float64) {
	if len(values) == 0 {
		return math.NaN(), math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	// The chance that at most k values are below the median.
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
