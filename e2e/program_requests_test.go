package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"strings"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// post sends a recording as a form with the key in part u.
func (p *program) post(path, key string, header ...string) (int, map[string]any) {
	p.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for _, field := range [][2]string{{"u", key}, {"d", "-a-general"}} {
		if err := form.WriteField(field[0], field[1]); err != nil {
			p.t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile("a", "speech.wav")
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := part.Write(sandbox.SpeechWAV()); err != nil {
		p.t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		p.t.Fatal(err)
	}
	return p.do(http.MethodPost, path, &body, append(header, "Content-Type", form.FormDataContentType())...)
}

func (p *program) poll(job, key string, header ...string) (int, map[string]any) {
	p.t.Helper()
	return p.do(http.MethodGet, "/v1/recognitions/"+job, nil, append(header, "Authorization", "Bearer "+key)...)
}

func (p *program) do(method, path string, body io.Reader, header ...string) (int, map[string]any) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.base+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := make(map[string]any)
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		p.t.Fatalf("status %d, and no JSON: %v", resp.StatusCode, err)
	}
	return resp.StatusCode, answer
}

const (
	clientBoundary  = "1234567890ABCDEFGHIJ"
	clientForm      = "multipart/form-data;boundary=" + clientBoundary
	unauthorized401 = "401 -\n{\"message\":\"received illegal service authorization\"}"
)

// recognitionForm is a form with a recording, and the key in this part.
func recognitionForm(key, part string) string {
	var b strings.Builder
	for _, field := range [][2]string{{part, key}, {"d", "-a-general"}, {"a", string(sandbox.SpeechWAV())}} {
		b.WriteString("--" + clientBoundary + "\r\nContent-Disposition: form-data; name=\"" + field[0] + "\"\r\n\r\n" + field[1] + "\r\n")
	}
	return b.String() + "--" + clientBoundary + "--\r\n"
}

// refusal is what a client gets whose key is unknown, as the API writes it.
const refusal = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"-","message":"received illegal service authorization"}` + "\r\n"
