//go:build linux

package main

import (
	"strconv"
	"strings"
)

// The cases of AssemblyAI's API: the key is in the header without a scheme, and jobs are JSON.

// listLength is the number of entries in a list.
const listLength = 1000

const (
	assemblyHost = "https://api.assemblyai.com"
	// benchHost is the origin of the gate in the requests of this program.
	benchHost = "http://bench.example.com"

	// assemblyKey is the header line with the upstream key.
	assemblyKey = "\r\nAuthorization: " + upstreamKey + "\r\n"

	transcriptRest = `,"language_model":"assemblyai_default","acoustic_model":"assemblyai_default","language_code":"en_us","speech_model":"universal","audio_url":"https://cdn.assemblyai.com/upload/6f1c2d3e","text":null,"words":null,"utterances":null,"confidence":null,"audio_duration":null,"punctuate":true,"format_text":true,"dual_channel":null,"webhook_url":null,"webhook_status_code":null,"auto_highlights":false,"speaker_labels":false,"content_safety":false,"iab_categories":false,"redact_pii":false,"custom_spelling":null,"disfluencies":false,"sentiment_analysis":false,"entity_detection":false,"error":null}`

	transcriptBody    = `{"id":"5b3a0000-1c9b-4f0e-8a57-6a1f00000000","status":"processing"` + transcriptRest
	transcriptCreated = `","status":"queued"` + transcriptRest
)

// transcriptList is a list with these transcripts. Its links lead to the host.
func transcriptList(ids []string, host string) string {
	var b strings.Builder
	here := host + "/v2/transcript?limit=" + strconv.Itoa(listLength)
	b.WriteString(`{"page_details":{"limit":` + strconv.Itoa(listLength) + `,"result_count":` + strconv.Itoa(listLength) +
		`,"current_url":"` + here + `","prev_url":"` + here + `&before_id=5b3a","next_url":null},"transcripts":[`)
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"id":"` + id + `","resource_url":"` + host + `/v2/transcript/` + id +
			`","status":"completed","created":"2026-11-28T10:00:00.123456","completed":"2026-11-28T10:00:10.123456","audio_url":"https://cdn.assemblyai.com/upload/6f1c2d3e","error":null}`)
	}
	b.WriteString("]}")
	return b.String()
}

// transcriptPoll reads a transcript.
func transcriptPoll(buf []byte, job, key string) []byte {
	buf = append(append(buf[:0], "GET /v2/transcript/"...), job...)
	buf = append(append(buf, " HTTP/1.1\r\n"+hostLine+"Authorization: "...), key...)
	return append(buf, "\r\n\r\n"...)
}

// assemblyPair is apiPair for AssemblyAI's API.
func (s *suite) assemblyPair() (f *fixture, one, other *proxy, err error) {
	return s.apiPair("assemblyai", assemblyKey, func(f *fixture, buf []byte, n int) []byte {
		return transcriptPoll(buf, f.uuids[n%len(f.uuids)], f.keys[n%len(f.keys)])
	})
}

func (s *suite) transcriptPolls() error {
	f, one, other, err := s.assemblyPair()
	if err != nil {
		return err
	}
	one.answer, other.answer = []byte(transcriptBody), []byte(transcriptBody)
	next := func(buf []byte) ([]byte, int) { return transcriptPoll(buf, pick(f.uuids), pick(f.keys)), 0 }
	return s.closed("assemblyai-poll", one, other, next, smallConns, cpuAtMost(1.05), throughputAtLeast(0))
}

func (s *suite) transcriptCreations() error {
	f, one, other, err := s.assemblyPair()
	if err != nil {
		return err
	}
	const text = `{"audio_url":"https://cdn.assemblyai.com/upload/6f1c2d3e","speech_model":"universal","speaker_labels":true}`
	request := "POST /v2/transcript HTTP/1.1\r\n" + hostLine + "Authorization: " + f.keys[0] +
		"\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(text)) + "\r\n\r\n" + text
	return s.closed("assemblyai-create", one, other, f.withKeys([]byte(request), f.keys[0]), 64, throughputAtLeast(0), cpuAtMost(0))
}

// transcriptLists reads a list in which every second entry is a transcript of the account. The others are
// transcripts of another account, and then transcripts that were not created through the gate.
func (s *suite) transcriptLists() error {
	f, one, other, err := s.assemblyPair()
	if err != nil {
		return err
	}
	own := f.uuids[:listLength/2]
	var unrecorded []string
	for i := range own {
		unrecorded = append(unrecorded, uuid(jobCount+listLength+i))
	}
	for _, list := range []struct {
		name   string
		others []string
	}{{"assemblyai-list", f.foreign}, {"assemblyai-list, entries without a record", unrecorded}} {
		var all []string
		for i, id := range own {
			all = append(all, id, list.others[i])
		}
		s.loop.backend.list = transcriptList(all, assemblyHost)
		other.answer = []byte(transcriptList(own, benchHost))
		if one.answer = other.answer; s.against == "" {
			one.answer = []byte(s.loop.backend.list)
		}
		request := "GET /v2/transcript?limit=" + strconv.Itoa(listLength) + " HTTP/1.1\r\n" + hostLine + "Authorization: " + f.keys[0] + "\r\n\r\n"
		if err := s.closed(list.name, one, other, f.withKeys([]byte(request), f.keys[0]), 8, cpuAtMost(1.5), throughputAtLeast(0)); err != nil {
			return err
		}
	}
	return nil
}
