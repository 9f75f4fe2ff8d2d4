package gate

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/audiometer"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// measureAudio makes the body of an admitted request measure its audio, while the next handlers
// read it. It returns false if the request has no audio that can be measured.
func (w *responseInterceptor) measureAudio() bool {
	r, route := w.r, w.call.Route
	if route == nil || route.Audio == nil || r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return false
	}
	contentType := ""
	if values := r.Header["Content-Type"]; len(values) > 0 {
		contentType = values[0]
	}
	if isJSON(contentType) { // it has the URL of the audio
		return false
	}
	w.audio.Begin(r.Body, audiometer.Config{
		ContentType: contentType, Part: route.Audio.Part, FormatPart: route.Audio.Format,
		Rate: audioRate(route.Audio, r.URL.RawQuery),
	})
	r.Body = &w.audio
	return true
}

// isJSON reports whether a body with this Content-Type is JSON.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

// countAudio counts the audio that the backend has got.
func (w *responseInterceptor) countAudio() {
	size, length := w.audio.Measure()
	if size > 0 {
		w.store.CountUsage(w.admitted, w.record.UsageOf(), keystore.UsageCounts{AudioBytes: size, AudioTime: length})
	}
}

// audioRate returns how many bytes a second of audio has, as far as the query tells it; otherwise 0.
func audioRate(audio *dialect.Audio, query string) int {
	if audio == nil || query == "" {
		return 0
	}
	if audio.Format != "" {
		return audiometer.NamedRate(parameter(query, audio.Format))
	}
	if audio.Samples == "" {
		return 0
	}
	encoding := parameter(query, audio.Encoding)
	if encoding == "" {
		encoding = audio.Default
	}
	channels := ""
	if audio.Channels != "" {
		channels = parameter(query, audio.Channels)
	}
	return audiometer.RawRate(encoding, parameter(query, audio.Samples), channels)
}

// parameter returns the first value of a parameter in a query; "" if the query does not have it.
func parameter(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			value, _ = url.QueryUnescape(value) // "" is no format
			return value
		}
	}
	return ""
}

// startMeter starts to measure the time and the audio of the stream for its key, and ends the
// measurement for the key of the start command before. It is called in the queue of events.
func (s *liveStream) startMeter(rate int) {
	if s.store == nil || s.ended.Load() {
		return
	}
	now := s.gate.app.Now()
	s.meter.Stop(now)
	of := s.decisionRecord(s.owner, policy.Allowed).UsageOf()
	s.meter = s.store.MeterStream(now, *of, rate, s.guard.AudioBytes)
}
