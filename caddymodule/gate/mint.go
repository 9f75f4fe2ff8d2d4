package gate

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// errTokenIsKey is the error of an answer that would show the upstream key as a token.
var errTokenIsKey = errors.New("the token holds the backend's key")

// finishMint records the token in the held answer, and then sends the answer to the client. If the
// answer has no token, the backend has minted none, and nothing is recorded. If the token is wrong or
// cannot be recorded, the client gets an answer of the gate.
func (w *responseInterceptor) finishMint() {
	api, mint := w.gate.api, w.call.Route.Mint
	token, err := firstMember(w.members, 0, mint.Tokens)
	var expires policy.Time
	if err == nil && token.Text != "" {
		expires, err = w.expiryOf()
	}
	switch {
	case err == nil && !isObject(w.held.Bytes()):
		err = jsonanswer.ErrJSON
	case err == nil && w.gate.redactor != nil && w.gate.redactor.Text(token.Text) != token.Text:
		err = errTokenIsKey
	}
	if err != nil {
		w.replace(api.GatewayError(w.call), "reading the minted token: "+err.Error())
		return
	}
	if token.Text != "" {
		if err := w.recordToken(token.Text, expires); err != nil {
			answer := api.Refusal(w.call, policy.StoreUnavailable)
			if !errors.Is(err, keystore.ErrUnavailable) { // the token is wrong, and not the store
				answer = api.GatewayError(w.call)
			}
			w.replace(answer, "recording a token: "+err.Error())
			return
		}
	}
	w.sendHeld()
}

// expiryOf returns the instant at which the token in the answer expires: what the backend says, but
// at most what the API allows.
func (w *responseInterceptor) expiryOf() (policy.Time, error) {
	mint, now := w.call.Route.Mint, w.gate.app.Now()
	latest := now.Add(mint.Longest)
	value, err := firstMember(w.members, mint.Tokens, mint.Members.Len())
	if err != nil || value.Kind == jsonanswer.Absent || value.Text == "null" {
		return latest, err
	}
	seconds, err := strconv.ParseFloat(value.Text, 64)
	if err != nil {
		return 0, errors.New("the token's expiry is no number of seconds")
	}
	expires := policy.At(time.Unix(int64(seconds), 0))
	if !mint.Instant {
		expires = now.Add(time.Duration(min(seconds, mint.Longest.Seconds()) * float64(time.Second)))
	}
	return min(expires, latest), nil
}

// recordToken writes the record of a token. It goes on if the client goes away.
func (w *responseInterceptor) recordToken(token string, expires policy.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.r.Context()), w.gate.recordJobWithin)
	defer cancel()
	return w.store.RecordToken(ctx, &w.reserved, keystore.NewToken{
		Backend: w.gate.Backend, Secret: policy.NewSecret(token), KeyID: w.record.Owner.KeyID, CreatedAt: w.admitted, ExpiresAt: expires,
	})
}

// firstMember returns the first value that is present, of the values from and before to of the set.
func firstMember(members *jsonanswer.Members, from, to int) (value jsonanswer.Value, err error) {
	for i := from; i < to; i++ {
		if value, err = members.Get(i); err != nil || value.Kind != jsonanswer.Absent {
			return value, err
		}
	}
	return value, nil
}

// upstreamOf says what the backend gets in place of what the client has shown. A token that the
// backend has minted goes to the backend as it is.
func (g *Gate) upstreamOf(f *facts) credential.Upstream {
	if f.hasToken && g.upstream.Mode == credential.Replace {
		return credential.Upstream{Mode: credential.Pass}
	}
	return g.upstream
}
