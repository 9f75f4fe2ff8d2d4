// Assemblyai does what Go programs do with the vendor's library, unmodified. Each step prints one
// line of JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	aai "github.com/AssemblyAI/assemblyai-go-sdk"
)

type settings struct {
	Base, Secure, Control, Audio string
	Keys                         struct {
		Good, Other string
		Refused     map[string]string
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
	Dials    int      `json:"dials,omitempty"`
}

func main() {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv("SETTINGS")), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	audio, err := os.ReadFile(s.Audio)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	good := s.client(s.Keys.Good).Transcripts
	step("transcript", func(r *result) error {
		got, err := good.TranscribeFromReader(ctx, bytes.NewReader(audio), nil)
		return r.transcript(got, err)
	})
	step("transcript of bytes, over TLS", func(r *result) error {
		client := aai.NewClientWithOptions(aai.WithAPIKey(s.Keys.Good), aai.WithBaseURL(s.Secure))
		got, err := client.Transcripts.TranscribeFromReader(ctx, bytes.NewBuffer(audio), nil)
		return r.transcript(got, err)
	})
	step("transcript of a stream", func(r *result) error {
		file, err := os.Open(s.Audio)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		got, err := good.TranscribeFromReader(ctx, file, nil)
		return r.transcript(got, err)
	})
	step("transcript of no audio", func(r *result) error {
		got, err := good.TranscribeFromReader(ctx, strings.NewReader("no audio"), nil)
		return r.transcript(got, err)
	})
	made, err := good.TranscribeFromURL(ctx, "https://example.com/speech.wav", &aai.TranscriptOptionalParams{SpeakerLabels: new(true)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	id := aai.ToString(made.ID)
	s.results(ctx, good, id)
	s.others(ctx, id)
	step("deletion", func(r *result) error {
		got, err := good.Delete(ctx, id)
		return r.transcript(got, err)
	})
	for name, key := range s.Keys.Refused {
		refused := s.client(key).Transcripts
		step(name, func(r *result) error {
			got, err := refused.TranscribeFromReader(ctx, bytes.NewReader(audio), nil)
			return r.transcript(got, err)
		})
		step("poll, "+name, func(r *result) error {
			got, err := refused.Get(ctx, id)
			return r.transcript(got, err)
		})
	}
	step("a key that expires during the job", func(r *result) error { return s.expire(ctx, audio, r) })
}

func (s *settings) client(key string) *aai.Client {
	return aai.NewClientWithOptions(aai.WithAPIKey(key), aai.WithBaseURL(s.Base))
}

// results gets the results of a transcript, and a list.
func (*settings) results(ctx context.Context, good *aai.TranscriptService, id string) {
	step("URL", func(r *result) error {
		got, err := good.Get(ctx, id)
		return r.transcript(got, err)
	})
	step("sentences", func(r *result) error {
		got, err := good.GetSentences(ctx, id)
		for _, sentence := range got.Sentences {
			r.Messages = append(r.Messages, aai.ToString(sentence.Text))
		}
		return err
	})
	step("paragraphs", func(r *result) error {
		got, err := good.GetParagraphs(ctx, id)
		for _, paragraph := range got.Paragraphs {
			r.Messages = append(r.Messages, aai.ToString(paragraph.Text))
		}
		return err
	})
	step("subtitles", func(r *result) error {
		srt, err := good.GetSubtitles(ctx, id, "srt", nil)
		if err != nil {
			return err
		}
		vtt, err := good.GetSubtitles(ctx, id, "vtt", &aai.TranscriptGetSubtitlesOptions{CharsPerCaption: 32})
		r.Messages = []string{string(srt), string(vtt)}
		return err
	})
	step("word search", func(r *result) error {
		got, err := good.WordSearch(ctx, id, []string{"speech-2", "nothing"})
		for _, match := range got.Matches {
			r.Messages = append(r.Messages, fmt.Sprintf("%s@%d", aai.ToString(match.Text), match.Indexes[0]))
		}
		return err
	})
	step("redacted audio", func(*result) error {
		_, err := good.GetRedactedAudio(ctx, id)
		return err
	})
	// The library sends the parameters in the query, and again in a body.
	step("list", func(r *result) error {
		got, err := good.List(ctx, aai.ListTranscriptParams{Limit: new(int64(20))})
		for _, entry := range got.Transcripts {
			r.Messages = append(r.Messages, string(entry.Status)+" "+aai.ToString(entry.ResourceURL))
		}
		return err
	})
}

// others asks for the transcript of another account.
func (s *settings) others(ctx context.Context, id string) {
	other := s.client(s.Keys.Other).Transcripts
	step("another account's list", func(r *result) error {
		got, err := other.List(ctx, aai.ListTranscriptParams{})
		for _, entry := range got.Transcripts {
			r.Messages = append(r.Messages, aai.ToString(entry.ID))
		}
		return err
	})
	step("another account's transcript", func(r *result) error {
		got, err := other.Get(ctx, id)
		return r.transcript(got, err)
	})
	step("another account's deletion", func(r *result) error {
		got, err := other.Delete(ctx, id)
		return r.transcript(got, err)
	})
	step("an unknown transcript", func(r *result) error {
		got, err := other.Get(ctx, "9ea68fd3-f953-42c1-9742-976c447fb463")
		return r.transcript(got, err)
	})
}

// expire polls a transcript with a key that expires meanwhile. The control server stops the
// sandbox's clock, so the transcript is not completed before.
func (s *settings) expire(ctx context.Context, audio []byte, r *result) error {
	var brief struct{ Key string }
	if err := s.control("/brief", &brief); err != nil {
		return err
	}
	client := s.client(brief.Key).Transcripts
	made, err := client.SubmitFromReader(ctx, bytes.NewReader(audio), nil)
	if err != nil {
		return err
	}
	var seen struct{ Polls int }
	failed := make(chan error, 1)
	go func() { failed <- s.control("/expired/"+brief.Key, &seen) }()
	got, err := client.Wait(ctx, aai.ToString(made.ID))
	if err := errors.Join(r.transcript(got, err), <-failed); err != nil {
		return err
	}
	r.Dials = seen.Polls
	_, err = client.SubmitFromURL(ctx, "https://example.com/speech.wav", nil)
	if err != nil {
		r.Code = err.Error()
	}
	return nil
}

// control calls the control server.
func (s *settings) control(path string, into any) error {
	resp, err := http.Post(s.Control+path, "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(into)
}

// step runs a step, and prints its result.
func step(name string, run func(*result) error) {
	r := result{Name: name}
	if err := run(&r); err != nil {
		r.Error, r.Message = fmt.Sprintf("%T", err), err.Error()
		if failed, ok := errors.AsType[aai.APIError](err); ok {
			r.Status = failed.Status
		}
	}
	line, err := json.Marshal(r)
	if err != nil {
		line = []byte(err.Error())
	}
	fmt.Println(string(line))
}

func (r *result) transcript(got aai.Transcript, err error) error {
	if err != nil {
		return err
	}
	r.Text, r.Code, r.Message = aai.ToString(got.Text), string(got.Status), aai.ToString(got.Error)
	for _, word := range got.Words {
		r.Messages = append(r.Messages, aai.ToString(word.Text))
	}
	return nil
}
