package keystore

import (
	"crypto/rand"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// BenchmarkImportKeys imports keys into a keystore that has 50,000. An operation is one key.
func BenchmarkImportKeys(b *testing.B) {
	s, _, err := tryStore(b.TempDir() + "/k.db")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	a, _, err := s.CreateAccount(b.Context(), start, operator, "A")
	if err != nil {
		b.Fatal(err)
	}
	importRandom(b, s, a.ID, 50_000)
	b.ResetTimer()
	importRandom(b, s, a.ID, b.N)
}

func importRandom(b *testing.B, s *Store, account string, n int) {
	b.Helper()
	all := make([]policy.Secret, n)
	for i := range all {
		text, err := policy.RandomText(40, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		all[i] = policy.NewSecret(text)
	}
	if _, err := s.ImportKeys(b.Context(), start, operator, Import{AccountID: account, Secrets: all, Expires: policy.Never()}); err != nil {
		b.Fatal(err)
	}
}
