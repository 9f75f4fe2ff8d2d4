//go:build !unix

package keystore

// Files have no modes here that say who can write them.

func checkModes(string) error { return nil }

func readableByOthers(string) []string { return nil }

func obstacle(string) string { return "" }
