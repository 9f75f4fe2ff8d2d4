package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
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
	who, authorization := "Authorization: Bearer "+brief(by), "Bearer "+by.Reveal()
	if by.Empty() {
		authorization = ""
		fields.Set("sid", d.serviceID)
		fields.Set("spw", d.password.Reveal())
		who = fmt.Sprintf("sid=%s  spw=%s", d.serviceID, brief(d.password))
	}
	d.sent(fmt.Sprintf("POST %s   %s  epi=%s", issue.DefaultPath, who, lifetime))
	return d.do(d.request(ctx, http.MethodPost, issue.DefaultPath, authorization, "application/x-www-form-urlencoded", strings.NewReader(fields.Encode())))
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
	contentType, body := form("u", key.Reveal(), "d", "-a-general", "a", theRecording)
	return d.request(ctx, http.MethodPost, path, "", contentType, body)
}

func (d *demo) poll(ctx context.Context, job string, key policy.Secret) demoReply {
	d.sent(fmt.Sprintf("GET /v2/recognitions/%s   Authorization: Bearer %s", job, brief(key)))
	return d.do(d.pollRequest(ctx, job, key))
}

func (d *demo) pollQuietly(ctx context.Context, job string, key policy.Secret) string {
	return d.do(d.pollRequest(ctx, job, key)).body
}

func (d *demo) pollRequest(ctx context.Context, job string, key policy.Secret) (*http.Request, error) {
	return d.request(ctx, http.MethodGet, "/v2/recognitions/"+job, "Bearer "+key.Reveal(), "", nil)
}

// request returns a request to the gate. If authorization or contentType is empty, the header does not
// have the field.
func (d *demo) request(ctx context.Context, method, path, authorization, contentType string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, d.gate+path, body)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Authorization": authorization, "Content-Type": contentType} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// theRecording is the value of the field of a form that has the recording.
const theRecording = "@speech.wav"

// form returns a form with these fields, which are names and values in turns. It has no errors, because a
// buffer has none.
func form(fields ...string) (contentType string, body *bytes.Buffer) {
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	for field := range slices.Chunk(fields, 2) {
		if field[1] != theRecording {
			_ = w.WriteField(field[0], field[1])
			continue
		}
		audio, _ := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {`form-data; name="` + field[0] + `"; filename="speech.wav"`}, "Content-Type": {"audio/wav"},
		})
		_, _ = audio.Write(sandbox.SpeechWAV())
	}
	_ = w.Close()
	return w.FormDataContentType(), body
}

// hideToken returns the token in a member of an answer, and leaves only the beginning of the token in the
// answer.
func (r *demoReply) hideToken(name string) policy.Secret {
	token := policy.NewSecret(member(r.body, name))
	if !token.Empty() {
		r.body = strings.Replace(r.body, token.Reveal(), brief(token), 1)
	}
	return token
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
