package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	clientSecretPrefix = "ek_"
	maxClientSecrets   = 1000

	// The API's limits and default for expires_after.seconds.
	clientSecretLife    = 600
	minClientSecretLife = 10
	maxClientSecretLife = 7200
)

// clientSecrets are the client secrets that have not expired.
type clientSecrets struct {
	mu   sync.Mutex
	ends map[string]time.Time
}

// add makes a client secret that expires at end. It returns "" if there are too many.
func (c *clientSecrets) add(now, end time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for secret, end := range c.ends {
		if !now.Before(end) {
			delete(c.ends, secret)
		}
	}
	if len(c.ends) == maxClientSecrets {
		return ""
	}
	secret := clientSecretPrefix + newSessionID()
	c.ends[secret] = end
	return secret
}

// good reports whether the keys of a request are one client secret that has not expired.
func (c *clientSecrets) good(keys credentials, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	end, known := c.ends[keys.key]
	return known && !keys.mixed && now.Before(end)
}

type clientSecret struct {
	Value     string  `json:"value"`
	ExpiresAt int64   `json:"expires_at"` // seconds since 1970
	Session   session `json:"session"`
}

// mint answers a request for a client secret.
func (s *OpenAI) mint(w http.ResponseWriter, r *http.Request) *openAIFailure {
	asked := struct {
		ExpiresAfter struct{ Seconds *int64 } `json:"expires_after"`
		Session      sessionChange
	}{}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxField))
	if err != nil || len(body) > 0 && json.Unmarshal(body, &asked) != nil {
		return newFailure(http.StatusBadRequest, "", "", "We could not parse the JSON body of your request.")
	}
	life := int64(clientSecretLife)
	if seconds := asked.ExpiresAfter.Seconds; seconds != nil {
		life = *seconds
	}
	if life < minClientSecretLife || life > maxClientSecretLife {
		return newFailure(http.StatusBadRequest, "invalid_value", "expires_after.seconds", "Invalid 'expires_after.seconds': want 10 to 7200.")
	}
	made := newSession()
	if failed := made.change(asked.Session); failed != nil {
		return failed
	}
	now := s.now()
	end := now.Add(time.Duration(life) * time.Second).Truncate(time.Second)
	value := s.secrets.add(now, end)
	if value == "" {
		return newFailure(http.StatusTooManyRequests, "rate_limit_exceeded", "", "Rate limit reached for client secrets.")
	}
	write(w, http.StatusOK, clientSecret{Value: value, ExpiresAt: end.Unix(), Session: made})
	return nil
}
