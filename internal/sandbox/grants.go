package sandbox

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// grants makes and checks short-lived tokens. It stores none: a token is the instant of its end, a
// random text, and a signature of both.
type grants struct{ secret [sha256.Size]byte }

func newGrants() *grants {
	g := new(grants)
	_, _ = rand.Read(g.secret[:]) // never fails
	return g
}

// issue returns a token that is good before end.
func (g *grants) issue(end time.Time) string {
	text := strconv.FormatInt(end.UnixMilli(), 10) + "." + rand.Text()
	return text + "." + g.sign(text)
}

// end returns the end of a token of this sandbox. It returns false for every other text.
func (g *grants) end(token string) (end time.Time, ok bool) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || !hmac.Equal([]byte(token[at+1:]), []byte(g.sign(token[:at]))) {
		return time.Time{}, false
	}
	instant, _, _ := strings.Cut(token, ".")
	ms, err := strconv.ParseInt(instant, 10, 64)
	return time.UnixMilli(ms), err == nil
}

// good reports whether a token is of this sandbox, and has not expired.
func (g *grants) good(token string, now time.Time) bool {
	end, ok := g.end(token)
	return ok && now.Before(end)
}

func (g *grants) sign(text string) string {
	mac := hmac.New(sha256.New, g.secret[:])
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}
