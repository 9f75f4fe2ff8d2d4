package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/speechgate/speechgate/internal/sandbox"
)

// The sandbox is an http.Handler: a backend that needs no account and no network.
func ExampleAmiVoice() {
	backend := httptest.NewServer(sandbox.NewAmiVoice(sandbox.Config{Key: "secret"}))
	defer backend.Close()
	for _, key := range []string{"secret", "wrong"} {
		resp, err := http.Post(backend.URL+"/v1/recognize?d=-a-general&u="+key, "application/octet-stream", bytes.NewReader(sandbox.SpeechWAV()))
		if err != nil {
			fmt.Println(err)
			return
		}
		var answer struct{ Text, Code, Message string }
		err = json.NewDecoder(resp.Body).Decode(&answer)
		_ = resp.Body.Close()
		fmt.Printf("%d %q %s%s %v\n", resp.StatusCode, answer.Code, answer.Text, answer.Message, err)
	}
	// Output:
	// 200 "" 5.82 s of 16000 Hz mono, 16 bits, 3 stretches of speech: 0.26-1.07 s, 1.50-3.22 s, 3.65-5.15 s; peak -5.9 dBFS, RMS -25.7 dBFS <nil>
	// 200 "-" received illegal service authorization <nil>
}
