package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/options"
)

// The form of a secret in Standard Webhooks.
const (
	secretPrefix = "whsec_"
	leastSecret  = 24 // bytes
	mostSecret   = 64
)

// resolveSecrets returns the keys of the configured secrets. An error shows no secret.
func resolveSecrets(texts []string) (keys [][]byte, err error) {
	for _, text := range texts {
		secret, err := options.ResolveSecret(text)
		if err != nil {
			return nil, fmt.Errorf("the webhook's secret: %w", err)
		}
		encoded, ok := strings.CutPrefix(secret.Reveal(), secretPrefix)
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < leastSecret || len(key) > mostSecret {
			return nil, fmt.Errorf(`the webhook's secret, which is not shown: want %s and the base64 text of %d to %d bytes, as echo "%s$(openssl rand -base64 32)" prints it`, secretPrefix, leastSecret, mostSecret, secretPrefix)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// signatures returns the value of webhook-signature: a signature of each key over the ID, the time of
// the try in seconds since 1970, and the body.
func signatures(keys [][]byte, id string, seconds int64, body []byte) string {
	all := make([]string, 0, len(keys))
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(seconds, 10) + "."))
		mac.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(all, " ")
}
