package gate

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// errTokenIsKey is the error of an answer that would show the upstream key as a token.
var errTokenIsKey = errors.New("the token holds the backend's key")

// errTokenIsOurs is the error of an answer whose token would let the key of another client count as the key
// of this one.
var errTokenIsOurs = errors.New("the token holds a key of the gateway")

// errLongMint is the error of an answer in which a token may be behind the part that the gate holds.
var errLongMint = errors.New("the backend's answer to a mint is larger than 64 KiB")

// finishMint records the token in the held answer, and then sends the answer to the client.
func (w *responseInterceptor) finishMint() {
	if w.recordMinted() {
		w.sendHeld()
	}
}

// recordMinted records the token in the held answer. If the answer has no token, the backend has minted
// none, and nothing is recorded. If the token is wrong or cannot be recorded, recordMinted returns
// false, and the client gets an answer of the gate.
func (w *responseInterceptor) recordMinted() bool {
	api := w.gate.api
	token, expires, err := w.mintedToken()
	if err != nil {
		w.replace(api.GatewayError(w.call), "reading the minted token: "+err.Error())
		return false
	}
	if token == "" {
		return true
	}
	if err := w.recordToken(token, expires); err != nil {
		answer := api.Refusal(w.call, policy.StoreUnavailable)
		if !errors.Is(err, keystore.ErrUnavailable) { // the token is wrong, and not the store
			answer = api.GatewayError(w.call)
		}
		w.replace(answer, "recording a token: "+err.Error())
		return false
	}
	return true
}

// mintedToken returns the token in the held answer, and its expiry. The token is "" if the answer has
// none.
func (w *responseInterceptor) mintedToken() (token string, expires policy.Time, err error) {
	mint, body := w.call.Route.Mint, w.held.Bytes()
	expires = w.gate.app.Now().Add(mint.Longest)
	if mint.Members == nil {
		token = string(bytes.TrimSpace(body))
	} else {
		var members jsonanswer.Members
		members.Begin(mint.Members)
		_, _ = members.Write(body)
		value, err := firstMember(&members, 0, mint.Tokens)
		token = value.Text
		if err == nil && token != "" && mint.Query != "" {
			token, err = parameterOf(token, mint.Query)
		}
		if err == nil && token != "" {
			expires, err = w.expiryOf(&members)
		}
		if err == nil && !isObject(body) {
			err = jsonanswer.ErrJSON
		}
		if err != nil {
			return "", 0, err
		}
	}
	switch {
	case w.gate.redactor != nil && w.gate.redactor.Text(token) != token:
		return "", 0, errTokenIsKey
	case policy.HoldsSecret(token):
		return "", 0, errTokenIsOurs
	}
	return token, expires, nil
}

// parameterOf returns the value of a parameter in the query of a URL; "" if the URL does not have the
// parameter.
func parameterOf(address, name string) (value string, err error) {
	_, query, _ := strings.Cut(address, "?")
	query, _, _ = strings.Cut(query, "#")
	for pair := range strings.SplitSeq(query, "&") {
		text, ok := strings.CutPrefix(pair, name+"=")
		if !ok {
			continue
		}
		if value != "" {
			return "", errors.New("the URL has two tokens")
		}
		if value, err = url.QueryUnescape(text); err != nil {
			return "", errors.New("the URL's query has an escape that is wrong") // the error of net/url has a part of the token
		}
	}
	return value, nil
}

// expiryOf returns the instant at which the token in the answer expires: what the backend says, but
// at most what the API allows.
func (w *responseInterceptor) expiryOf(members *jsonanswer.Members) (policy.Time, error) {
	mint, now := w.call.Route.Mint, w.gate.app.Now()
	latest := now.Add(mint.Longest)
	value, err := firstMember(members, mint.Tokens, mint.Members.Len())
	if err != nil || value.Kind == jsonanswer.Absent || value.Text == "null" {
		return latest, err
	}
	seconds, err := strconv.ParseFloat(value.Text, 64)
	if err != nil || math.IsNaN(seconds) {
		return 0, errors.New("the token's expiry is no number of seconds")
	}
	expires := policy.At(time.Unix(int64(max(0, min(seconds, 1<<40))), 0)) // a conversion beyond int64 differs between processors
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
		UpstreamKey: w.fingerprint(),
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
