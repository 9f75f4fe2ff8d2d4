package manage

import (
	"context"

	"github.com/speechgate/speechgate/keystore"
)

// CopyRequest says where a copy of the keystore is made, and how.
type CopyRequest struct {
	// To is the place of the copy, which must be empty.
	To keystore.Config
	// Snapshot lets the copy finish although the keystore has changed since it was read.
	Snapshot bool
	// Progress is told of each part of a table. Default: nobody is told.
	Progress func(keystore.CopyProgress)
}

// Copied is what [Manager.Copy] did.
type Copied struct {
	To            string        `json:"to"`       // its whole path, or its URL without a password
	StoreID       string        `json:"store_id"` // of both keystores
	Accounts      int64         `json:"accounts"`
	Keys          int64         `json:"keys"`
	Jobs          int64         `json:"jobs"`
	Rows          int64         `json:"rows"`           // of all tables
	RowsKept      int64         `json:"rows_kept"`      // an interrupted copy had brought them
	AuditHead     string        `json:"audit_head"`     // of the copy
	FeedSeq       int64         `json:"feed_seq"`       // number of the last change that the copy has
	SourceChanged bool          `json:"source_changed"` // the keystore has changed since it was read
	Tables        []CopiedTable `json:"tables"`
}

// CopiedTable is a table that is the same in both keystores.
type CopiedTable struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"` // of all rows
}

// Copy makes the same keystore at another place. It is for the operator only.
func (m *Manager) Copy(ctx context.Context, q CopyRequest) (Copied, error) {
	if err := m.operatorOnly(); err != nil {
		return Copied{}, err
	}
	to, err := q.To.Name()
	if err != nil {
		return Copied{}, err
	}
	c, err := m.Store.CopyTo(ctx, q.To, keystore.CopyOptions{Snapshot: q.Snapshot, Progress: q.Progress})
	if err != nil {
		return Copied{}, err
	}
	result := Copied{To: to, StoreID: c.StoreID, RowsKept: c.Kept, AuditHead: c.Head.String(), FeedSeq: c.Feed, SourceChanged: c.Changed}
	for _, t := range c.Tables {
		result.Tables = append(result.Tables, CopiedTable{t.Name, t.Rows, t.SHA256})
		result.Rows += t.Rows
		switch t.Name {
		case "accounts":
			result.Accounts = t.Rows
		case "api_keys":
			result.Keys = t.Rows
		case "jobs":
			result.Jobs = t.Rows
		}
	}
	return result, nil
}
