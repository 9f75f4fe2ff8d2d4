//go:build !unix

package keystore

import "os"

// checkOwner has nothing to look at here.
func checkOwner(os.FileInfo) error { return nil }
