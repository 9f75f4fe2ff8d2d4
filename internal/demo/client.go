package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/policy"
)

// demoReply is the answer to a request of the demo.
type demoReply struct {
	status int
	body   string
}

// issue asks the issuance API for a key, and shows the request. The request authenticates
// with the key by. If by is empty, it authenticates with the service ID and the service
// password of the account.
func (d *demo) issue(ctx context.Context, by policy.Secret, lifetime string) demoReply {
	fields := url.Values{"epi": {lifetime}}
	who := "Authorization: Bearer " + brief(by)
	if by.Empty() {
		fields.Set("sid", d.serviceID)
		fields.Set("spw", d.password.Reveal())
		who = fmt.Sprintf("sid=%s  spw=%s", d.serviceID, brief(d.password))
	}
	d.sent(fmt.Sprintf("POST %s   %s  epi=%s", issue.DefaultPath, who, lifetime))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.gate+issue.DefaultPath, strings.NewReader(fields.Encode()))
	if err != nil {
		return demoReply{body: err.Error()}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !by.Empty() {
		req.Header.Set("Authorization", "Bearer "+by.Reveal())
	}
	return d.do(req, nil)
}

// recognize sends the recording with a key, and shows the request.
func (d *demo) recognize(ctx context.Context, key policy.Secret) demoReply {
	shown, req, err := d.script.recognition(d, ctx, key)
	d.sent(shown)
	return d.do(req, err)
}

// form sends the recording and the key in a form, and shows the request.
func (d *demo) form(ctx context.Context, path string, key policy.Secret) demoReply {
	d.sent(fmt.Sprintf("POST %s   u=%s  d=-a-general  a=@speech.wav", path, brief(key)))
	return d.do(d.formRequest(ctx, path, key))
}

func (d *demo) recognizeQuietly(ctx context.Context, key policy.Secret) string {
	_, req, err := d.script.recognition(d, ctx, key)
	return d.do(req, err).body
}

func (d *demo) formRequest(ctx context.Context, path string, key policy.Secret) (*http.Request, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, field := range [][2]string{{"u", key.Reveal()}, {"d", "-a-general"}} {
		if err := form.WriteField(field[0], field[1]); err != nil {
			return nil, err
		}
	}
	audio, err := form.CreateFormFile("a", "speech.wav")
	if err != nil {
		return nil, err
	}
	if _, err := audio.Write(sandbox.SpeechWAV()); err != nil {
		return nil, err
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.gate+path, &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	return req, nil
}

func (d *demo) poll(ctx context.Context, job string, key policy.Secret) demoReply {
	d.sent(fmt.Sprintf("GET /v2/recognitions/%s   Authorization: Bearer %s", job, brief(key)))
	return d.do(d.pollRequest(ctx, job, key))
}

func (d *demo) pollQuietly(ctx context.Context, job string, key policy.Secret) string {
	return d.do(d.pollRequest(ctx, job, key)).body
}

func (d *demo) pollRequest(ctx context.Context, job string, key policy.Secret) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.gate+"/v2/recognitions/"+job, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key.Reveal())
	return req, nil
}

// do sends a request. If there is an error, the body of the reply is its text.
func (d *demo) do(req *http.Request, err error) demoReply {
	if err != nil {
		return demoReply{body: err.Error()}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return demoReply{body: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return demoReply{status: resp.StatusCode, body: err.Error()}
	}
	return demoReply{status: resp.StatusCode, body: string(body)}
}

// brief returns the first 8 characters of a key. People can recognize the key by them.
func brief(key policy.Secret) string {
	text := key.Reveal()
	return text[:min(8, len(text))] + "…"
}

func member(object, name string) string {
	var members map[string]any
	if json.Unmarshal([]byte(object), &members) != nil {
		return ""
	}
	text, _ := members[name].(string)
	return text
}
