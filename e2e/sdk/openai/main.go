// Openai does what Go programs do with the vendor's library, unmodified. Each step prints one
// line of JSON.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/realtime"
)

type settings struct {
	Base, Secure, Control, Audio string
	Keys                         struct {
		Good, Doomed string
		Refused      map[string]string
	}
}

type result struct {
	Name     string   `json:"name"`
	Text     string   `json:"text,omitempty"`
	Messages []string `json:"messages,omitempty"`
	Error    string   `json:"error,omitempty"` // the type of the error
	Status   int      `json:"status,omitempty"`
	Code     string   `json:"code,omitempty"`
	Message  string   `json:"message,omitempty"`
	Cut      int64    `json:"cut,omitempty"` // milliseconds from the revocation to the error
}

func main() {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv("SETTINGS")), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	audio, err := os.ReadFile(s.Audio)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	good := client(s.Base, s.Keys.Good)
	step("transcription", func(r *result) error { return transcribe(ctx, good, s.Audio, r) })
	step("transcription over TLS", func(r *result) error {
		return transcribe(ctx, client(s.Secure, s.Keys.Good), s.Audio, r)
	})
	step("stream", func(r *result) error { return stream(ctx, good, audio, r) })
	step("translation", func(r *result) error {
		got, err := good.Audio.Translations.New(ctx, openai.AudioTranslationNewParams{
			File: openai.File(bytes.NewReader(audio), `a"b.wav`, "audio/wav"), Model: openai.AudioModelWhisper1,
		})
		if err == nil {
			r.Text = got.Text
		}
		return err
	})
	step("models", func(r *result) error {
		models := good.Models.ListAutoPaging(ctx)
		for models.Next() {
			r.Messages = append(r.Messages, models.Current().ID)
		}
		return models.Err()
	})
	for name, key := range s.Keys.Refused {
		step(name, func(r *result) error { return transcribe(ctx, client(s.Base, key), s.Audio, r) })
		step("realtime, "+name, func(r *result) error { return live(ctx, s, key, audio[44:], r) })
	}
	step("realtime", func(r *result) error { return live(ctx, s, s.Keys.Good, audio[44:], r) })
	step("realtime, revoked in mid-stream", func(r *result) error { return cut(ctx, s, audio[44:], r) })
}

func client(base, key string) openai.Client {
	return openai.NewClient(option.WithBaseURL(base+"/v1/"), option.WithAPIKey(key))
}

// step runs a step, and prints its result.
func step(name string, run func(*result) error) {
	r := result{Name: name}
	if err := run(&r); err != nil {
		r.Error, r.Message = fmt.Sprintf("%T", err), err.Error()
		var api *openai.Error
		if errors.As(err, &api) {
			r.Error, r.Status, r.Code = fmt.Sprintf("%T", api), api.StatusCode, api.Code
		}
	}
	line, err := json.Marshal(r)
	if err != nil {
		line = []byte(err.Error())
	}
	fmt.Println(string(line))
}

func transcribe(ctx context.Context, c openai.Client, path string, r *result) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	got, err := c.Audio.Transcriptions.New(ctx, openai.AudioTranscriptionNewParams{File: file, Model: openai.AudioModelWhisper1})
	if err == nil {
		r.Text = got.Text
	}
	return err
}

func stream(ctx context.Context, c openai.Client, audio []byte, r *result) error {
	events := c.Audio.Transcriptions.NewStreaming(ctx, openai.AudioTranscriptionNewParams{
		File: openai.File(bytes.NewReader(audio), "speech.wav", "audio/wav"), Model: openai.AudioModelGPT4oTranscribe,
	})
	defer events.Close()
	for events.Next() {
		switch event := events.Current(); event.Type {
		case "transcript.text.delta":
			r.Messages = append(r.Messages, event.Delta)
		case "transcript.text.done":
			r.Text = event.Text
		}
	}
	return events.Err()
}

// connect opens a realtime session.
func connect(ctx context.Context, s settings, key string) (*realtime.RealtimeConnection, error) {
	c := client(s.Secure, key)
	return c.Realtime.Connect(ctx, realtime.RealtimeConnectionOptions{}, option.WithQuery("intent", "transcription"))
}

// live sends the samples, and reads the transcripts of a session.
func live(ctx context.Context, s settings, key string, samples []byte, r *result) error {
	conn, err := connect(ctx, s, key)
	if err != nil {
		return err
	}
	defer conn.Close()
	for piece := range slices.Chunk(samples, 4800) {
		if err := send(ctx, conn, piece); err != nil {
			break // the reason comes with the next event
		}
	}
	for len(r.Messages) < 3 {
		event, err := conn.Recv(ctx)
		if err != nil {
			return err
		}
		switch event := event.AsAny().(type) {
		case realtime.ConversationItemInputAudioTranscriptionCompletedEvent:
			r.Messages = append(r.Messages, event.Transcript)
		case realtime.RealtimeErrorEvent:
			r.Code = event.Error.Code
		}
	}
	return nil
}

// cut sends samples until the session ends, and has its key revoked.
func cut(ctx context.Context, s settings, samples []byte, r *result) error {
	conn, err := connect(ctx, s, s.Keys.Doomed)
	if err != nil {
		return err
	}
	defer conn.Close()
	sending, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for piece := range slices.Chunk(slices.Repeat(samples, 50), 4800) {
			if send(sending, conn, piece) != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	var revoked time.Time
	for {
		event, err := conn.Recv(ctx)
		if err != nil {
			return err
		}
		switch event := event.AsAny().(type) {
		case realtime.RealtimeErrorEvent:
			r.Code, r.Cut = event.Error.Code, max(time.Since(revoked).Milliseconds(), 1)
		case realtime.ConversationItemInputAudioTranscriptionCompletedEvent:
			if !revoked.IsZero() {
				continue
			}
			resp, err := http.Post(s.Control+"/revoke/doomed", "", nil)
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			revoked = time.Now()
		}
	}
}

func send(ctx context.Context, conn *realtime.RealtimeConnection, samples []byte) error {
	return conn.Send(ctx, realtime.RealtimeClientEventUnionParam{
		OfInputAudioBufferAppend: &realtime.InputAudioBufferAppendEventParam{Audio: base64.StdEncoding.EncodeToString(samples)},
	})
}
