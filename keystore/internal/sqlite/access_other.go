//go:build !unix

package sqlite

// On these systems a file has no mode that says which users can write it.

func checkModes(string) error { return nil }

func readableByOthers(string) []string { return nil }

func findObstacle(string) string { return "" }
