//go:build !unix

package postgrestest

import "os/exec"

type account struct{}

func findAccount() (account, error) {
	return account{}, lackingError("Unix, which servers of tests need")
}

func (account) own(string) error   { return nil }
func (account) detached(*exec.Cmd) {}
