package manage

import (
	"context"
	"time"
)

// noteTime limits how long the entry of the audit trail about a cut waits for the keystore.
const noteTime = 5 * time.Second

// CutStream cuts the live stream with this ID, and adds an entry to the audit trail. It returns
// false if there is no such stream. The stream is cut first: no fault of the keystore may prevent a
// cut. If cut is true and err is not nil, the audit trail has no entry about the cut. It is for the
// operator only.
func (m *Manager) CutStream(ctx context.Context, id string) (cut bool, err error) {
	if err := m.operatorOnly(); err != nil || m.Cut == nil {
		return false, err
	}
	accountID, cut := m.Cut(id)
	if cut {
		err = m.NoteCut(ctx, accountID, id, 1)
	}
	return cut, err
}

// NoteCut adds an entry to the audit trail about live streams that were cut. The subject is the ID
// of the stream, or of the key or the account whose streams were cut; accountID can be empty. The
// entry is written even if the request that has cut the streams has ended meanwhile. It is for the
// operator only.
func (m *Manager) NoteCut(ctx context.Context, accountID, subject string, streams int) error {
	if err := m.operatorOnly(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	return m.Store.NoteCut(ctx, m.Now, m.Actor, accountID, subject, streams)
}
