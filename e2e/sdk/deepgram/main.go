// Deepgram does what Go programs do with the vendor's library, unmodified. Each step prints one
// line of JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	listenapi "github.com/deepgram/deepgram-go-sdk/v3/pkg/api/listen/v1/rest"
	results "github.com/deepgram/deepgram-go-sdk/v3/pkg/api/listen/v1/rest/interfaces"
	messages "github.com/deepgram/deepgram-go-sdk/v3/pkg/api/listen/v1/websocket/interfaces"
	manageapi "github.com/deepgram/deepgram-go-sdk/v3/pkg/api/manage/v1"
	"github.com/deepgram/deepgram-go-sdk/v3/pkg/client/interfaces"
	"github.com/deepgram/deepgram-go-sdk/v3/pkg/client/listen"
	"github.com/deepgram/deepgram-go-sdk/v3/pkg/client/manage"
)

type settings struct {
	Base, Secure, Control, Audio string
	Keys                         struct {
		Good, Live string
		Refused    map[string]string
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
	listen.Init(listen.InitLib{LogLevel: listen.LogLevelErrorOnly})
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
	options := &interfaces.PreRecordedTranscriptionOptions{Model: "nova-3", Keyterm: []string{"a b"}}
	step("recording", func(r *result) error {
		got, err := s.rest(s.Keys.Good).FromFile(ctx, s.Audio, options)
		return r.transcript(got, err)
	})
	step("recording in memory", func(r *result) error {
		got, err := s.rest(s.Keys.Good).FromStream(ctx, bytes.NewReader(audio), options)
		return r.transcript(got, err)
	})
	step("recording over TLS", func(r *result) error {
		got, err := listenapi.New(listen.NewREST(s.Keys.Good, s.liveClient(s.Keys.Good))).FromFile(ctx, s.Audio, options)
		return r.transcript(got, err)
	})
	step("URL", func(r *result) error {
		got, err := s.rest(s.Keys.Good).FromURL(ctx, "https://example.com/speech.wav", options)
		return r.transcript(got, err)
	})
	admin := manageapi.New(manage.New(s.Keys.Good, s.client(s.Keys.Good)))
	step("models", func(r *result) error {
		got, err := admin.ListModels(ctx, nil)
		if err == nil {
			r.Messages = []string{got.Stt[0].Name}
		}
		return err
	})
	var refused sync.WaitGroup // a refused stream takes four seconds
	for name, key := range s.Keys.Refused {
		step(name, func(r *result) error {
			got, err := s.rest(key).FromFile(ctx, s.Audio, options)
			return r.transcript(got, err)
		})
		refused.Go(func() {
			step("live, "+name, func(r *result) error { return s.live(ctx, key, "refused", audio, r) })
		})
	}
	refused.Wait()
	step("live", func(r *result) error { return s.live(ctx, s.Keys.Good, "good", audio, r) })
	step("live, revoked in mid-stream", func(r *result) error { return s.cut(ctx, audio, r) })
}

func (s *settings) client(key string) *interfaces.ClientOptions {
	return &interfaces.ClientOptions{APIKey: key, Host: s.Base}
}

// liveClient returns options for streams. With a scheme in Host, the library writes the scheme into
// the field Host of the handshake too, and no server knows such a name. Without one it uses TLS.
func (s *settings) liveClient(key string) *interfaces.ClientOptions {
	return &interfaces.ClientOptions{APIKey: key, Host: strings.TrimPrefix(s.Secure, "https://")}
}

func (s *settings) rest(key string) *listenapi.Client {
	return listenapi.New(listen.NewREST(key, s.client(key)))
}

var printing sync.Mutex

// step runs a step, and prints its result.
func step(name string, run func(*result) error) {
	r := result{Name: name}
	if err := run(&r); err != nil {
		r.Error, r.Message = fmt.Sprintf("%T", err), err.Error()
		var status *interfaces.StatusError
		if errors.As(err, &status) {
			r.Status = status.Resp.StatusCode
			if status.DeepgramError != nil {
				r.Code = status.DeepgramError.ErrCode
			}
		}
	}
	line, err := json.Marshal(r)
	if err != nil {
		line = []byte(err.Error())
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

func (r *result) transcript(got *results.PreRecordedResponse, err error) error {
	if err != nil {
		return err
	}
	r.Text = got.Results.Channels[0].Alternatives[0].Transcript
	return nil
}

// events gets the messages of a stream.
type events struct {
	said  func(*messages.MessageResponse)
	wrong chan *messages.ErrorResponse
}

func newEvents() *events {
	return &events{
		said: func(*messages.MessageResponse) {}, wrong: make(chan *messages.ErrorResponse, 10),
	}
}

func (e *events) Message(m *messages.MessageResponse) error {
	e.said(m)
	return nil
}

func (e *events) Error(m *messages.ErrorResponse) error {
	e.wrong <- m
	return nil
}

func (*events) Open(*messages.OpenResponse) error                   { return nil }
func (*events) Metadata(*messages.MetadataResponse) error           { return nil }
func (*events) SpeechStarted(*messages.SpeechStartedResponse) error { return nil }
func (*events) UtteranceEnd(*messages.UtteranceEndResponse) error   { return nil }
func (*events) Close(*messages.CloseResponse) error                 { return nil }
func (*events) UnhandledEvent([]byte) error                         { return nil }

var errNotConnected = errors.New("the library has not connected")

// live sends a recording, and reads the final results.
func (s *settings) live(ctx context.Context, key, tag string, audio []byte, r *result) error {
	e := newEvents()
	said := make(chan *messages.MessageResponse, 100)
	e.said = func(m *messages.MessageResponse) { said <- m }
	client, err := listen.NewWSUsingCallback(ctx, key, s.liveClient(key), &interfaces.LiveTranscriptionOptions{Model: "nova-3", Tag: []string{tag}}, e)
	if err != nil {
		return err
	}
	if !client.Connect() {
		return errNotConnected
	}
	defer client.Stop()
	if err := client.Stream(bytes.NewReader(audio)); !errors.Is(err, io.EOF) {
		return err
	}
	// The library reads nothing more after Stop, so the program waits for the results before it.
	if err := client.Finalize(); err != nil {
		return err
	}
	for {
		select {
		case m := <-said:
			if m.FromFinalize {
				r.Text = strconv.FormatFloat(m.Start, 'g', -1, 64)
				return nil
			}
			r.Messages = append(r.Messages, m.Channel.Alternatives[0].Transcript)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cut sends audio until a write fails, and has the key revoked. The library connects again at the
// next write after each Close.
func (s *settings) cut(ctx context.Context, audio []byte, r *result) error {
	key := s.Keys.Live
	e := newEvents()
	said := make(chan struct{}, 100)
	e.said = func(*messages.MessageResponse) { said <- struct{}{} }
	client, err := listen.NewWSUsingCallback(ctx, key, s.liveClient(key), &interfaces.LiveTranscriptionOptions{Model: "nova-3", Tag: []string{"doomed"}}, e)
	if err != nil {
		return err
	}
	if !client.Connect() {
		return errNotConnected
	}
	failed := make(chan error, 1)
	go func() {
		for piece := range slices.Chunk(slices.Repeat(audio, 50), 4096) {
			if _, err := client.Write(piece); err != nil {
				failed <- err
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		failed <- errors.New("every write has succeeded")
	}()
	<-said
	resp, err := http.Post(s.Control+"/revoke/live", "", nil)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	revoked := time.Now()
	select {
	case m := <-e.wrong:
		r.Code, r.Cut = m.Variant, max(time.Since(revoked).Milliseconds(), 1)
	case <-ctx.Done():
		return ctx.Err()
	}
	err = <-failed
	time.Sleep(3 * time.Second) // the library may connect again in this time
	return err
}
