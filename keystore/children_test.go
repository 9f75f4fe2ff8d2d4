package keystore

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

func TestUpgrade_OlderChildrenAreBound(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	path := newPath(t)
	plain := newHasher(policy.Secret{})
	child := policy.NewSecret("child")
	makeVersion1(t, path, plain.secret(policy.NewSecret("issuer")), plain.secret(child))
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET issuer_id = 'key_1' WHERE id = 'key_2'`)
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET issuable = 1 WHERE id = 'key_1'`)
	f := openStore(t, path)
	if _, err := f.RotateKey(t.Context(), start, operator, "key_1", time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := f.find(child).Key().RevokeFrom; got != start.Add(time.Hour) {
		t.Errorf("the child ends at %s", got)
	}
}
