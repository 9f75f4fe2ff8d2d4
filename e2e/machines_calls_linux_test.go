package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
)

const (
	pollPatience  = 4 * time.Second // a gateway without its database must answer sooner
	writePatience = 6 * time.Second // afterwards nobody knows whether the write was made
)

// manage makes a request of the admin API. An answer with another status than 200 and 201 is an error.
func (g *siteGateway) manage(ctx context.Context, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.Addr()+":2019/speechgate/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %s %s", path, resp.Status, said)
	}
	return json.Unmarshal(said, answer)
}

func (g *siteGateway) createAccount(ctx context.Context, name string) (id string, err error) {
	var made struct {
		ID string `json:"account_id"`
	}
	err = g.manage(ctx, "accounts", map[string]any{"name": name}, &made)
	return made.ID, err
}

func (g *siteGateway) issueKey(ctx context.Context, account string) (id, secret string, err error) {
	var made struct {
		ID  string `json:"key_id"`
		Key string `json:"key"`
	}
	err = g.manage(ctx, "keys", map[string]any{"account_id": account, "expires": "1h"}, &made)
	return made.ID, made.Key, err
}

func (g *siteGateway) revokeKey(ctx context.Context, id string) error {
	return g.manage(ctx, "keys/"+id+"/revoke", map[string]any{"reason": "tried"}, new(struct{}))
}

var errKeyRefused = errors.New("the key is refused")

// createJob creates a job. Without an error, the client has learned of the job. The error is
// errKeyRefused if the gateway refuses the key.
func (g *siteGateway) createJob(ctx context.Context, secret string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.Addr()+":8080/v2/recognitions", strings.NewReader(recognitionForm(secret, "u")))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", clientForm)
	resp, err := g.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return "", errKeyRefused
	}
	var answer struct {
		ID   string `json:"sessionid"`
		Text string `json:"message"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.ID == "" {
		return "", fmt.Errorf("no job: %s %s", resp.Status, answer.Text)
	}
	return answer.ID, nil
}

// poll asks for a job, and returns the status of the answer.
func (g *siteGateway) poll(ctx context.Context, job, secret string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, pollPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.Addr()+":8080/v2/recognitions/"+url.PathEscape(job), nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := g.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// startStream begins a live stream. ended has the time of its end, whatever ends it.
func (g *siteGateway) startStream(ctx context.Context, secret string) (ended <-chan time.Time, err error) {
	address := g.Addr() + ":8080"
	dialing, cancel := context.WithTimeout(ctx, pollPatience)
	defer cancel()
	conn, err := g.site.clients.DialContext(dialing, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, wstest.LibraryHandshake("/v1/", address)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(wstest.RawText(startWith(secret))); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("a stream: %s", answer.Status)
	}
	if frame, err := wstest.ReadFrame(reader); err != nil || frame != wstest.Text("s") {
		return nil, fmt.Errorf("a stream begins with %v, %w", frame, err)
	}
	end := make(chan time.Time, 1)
	go func() {
		defer func() { _ = conn.Close() }()
		_, _ = wstest.ReadFrame(reader) // the message of the cut, or the end of the connection
		end <- time.Now()
	}()
	return end, nil
}
