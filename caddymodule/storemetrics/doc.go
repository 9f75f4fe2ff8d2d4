// Package storemetrics has the metrics of the keystore and of the live streams. A scrape costs
// some microseconds, except the numbers that have to be counted in the keystore: see census.go.
package storemetrics
