package credential

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// seenPart is a part as another parser reads it.
type seenPart struct{ name, value string }

// goParts returns the parts before the audio as Go's own parser reads them. Go reads a
// boundary that is no token only in quotation marks, and no control character in the header of
// the audio, such as that of a file name in ISO-2022-JP.
func goParts(t tester, contentType, boundary, body string) []seenPart {
	if _, params, err := mime.ParseMediaType(contentType); err == nil && params["boundary"] != boundary {
		t.Fatalf("Go reads another boundary in %q than %q", contentType, boundary)
	} else if err != nil && isToken(boundary) {
		t.Fatalf("Go cannot read the Content-Type %q: %v", contentType, err)
	}
	reader := multipart.NewReader(strings.NewReader(body), boundary)
	var parts []seenPart
	for {
		p, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil && strings.Contains(err.Error(), "malformed MIME header") && len(lenientParts(contentType, body)) == len(parts) {
			return parts // the next part is the audio
		}
		if err != nil {
			t.Fatalf("Go cannot read the form that was forwarded: %v\n%q", err, body)
		}
		if p.FormName() == "a" {
			return parts
		}
		value, err := io.ReadAll(p)
		if err != nil {
			t.Fatalf("Go cannot read a part that was forwarded: %v\n%q", err, body)
		}
		parts = append(parts, seenPart{p.FormName(), string(value)})
	}
}

var (
	lenientBoundary = regexp.MustCompile(`(?i)boundary\s*=\s*"?([^";,\s]+)`)
	lenientName     = regexp.MustCompile(`(?i)name\*?\s*=\s*["']?([^"';]*)`)
	lenientLine     = regexp.MustCompile(`\r\n|\n|\r`)
)

// lenientParts reads a form as the most lenient parsers do: boundaries anywhere, any line
// break, folded headers, preambles, parts after the last boundary, and the first name that
// a pattern finds, in any case and spelling.
func lenientParts(contentType, body string) []seenPart {
	m := lenientBoundary.FindStringSubmatch(contentType)
	if m == nil {
		return nil
	}
	var parts []seenPart
	for _, piece := range strings.Split(body, "--"+m[1])[1:] {
		piece = strings.TrimLeft(piece, "-")
		lines := lenientLine.Split(piece, -1)
		header, i := "", 1
		for ; i < len(lines) && strings.Trim(lines[i], " \t") != ""; i++ {
			header += " " + lines[i]
		}
		m := lenientName.FindStringSubmatch(header)
		if m == nil {
			continue
		}
		name := readName(m[1])
		if name == "a" {
			break
		}
		value := strings.Join(lines[min(i+1, len(lines)):], "\n")
		parts = append(parts, seenPart{name, strings.TrimSuffix(value, "\n")})
	}
	return parts
}

// lenientNames decodes what lenient parsers decode in a name.
var lenientNames = strings.NewReplacer("\u0131", "i", "\u017f", "s", "\u212a", "k", "\u200b", "", "\ufeff", "", `"`, "", "'", "")

// readName returns the name that a lenient parser of queries and forms reads.
func readName(raw string) string {
	name := decodePercent(strings.ReplaceAll(raw, "+", " "))
	name, _, _ = strings.Cut(strings.TrimLeft(strings.TrimSpace(name), "?[] "), "\x00")
	if i := strings.IndexAny(name, "[]"); i >= 0 {
		name = name[:i]
	}
	return strings.ToLower(strings.TrimSpace(lenientNames.Replace(name)))
}

var lenientPair = regexp.MustCompile(`(?i)authorization\s*=\s*([^\s"]+)`)

// checkParts checks that another parser reads no key except the upstream key.
func checkParts(t tester, parser string, parts []seenPart) {
	for _, p := range parts {
		switch p.name {
		case "u":
			if p.value != "" && p.value != upstreamKey {
				t.Fatalf("%s sees the key %q", parser, p.value)
			}
		case "d":
			found := lenientPair.FindAllStringSubmatch(p.value, -1)
			if hidden := lenientPair.FindAllString(lenientNames.Replace(decodeAll(p.value)), -1); len(hidden) != len(found) {
				t.Fatalf("%s sees %d keys in %q once it is decoded, and %d before", parser, len(hidden), p.value, len(found))
			}
			for _, m := range found {
				if key, err := url.PathUnescape(m[1]); err != nil || key != upstreamKey {
					t.Fatalf("%s sees the key %q in %q", parser, m[1], p.value)
				}
			}
		}
	}
}

// checkForwarded rewrites a request that is accepted. It checks that every parser reads
// only the upstream key, and that nothing else has changed.
func checkForwarded(t tester, query, contentType, body string) {
	r := upload(query, contentType, body)
	f, secret, fault := find(t, r, testMaxHead)
	if fault != nil {
		if readBody(t, r) != body {
			t.Fatalf("a refused body was changed")
		}
		return
	}
	var read, delimiter string // read is the head of the form, which reading the body releases
	var before []seenPart
	behind := 0 // the bytes of the body after the audio's header
	if f.form != nil {
		read, delimiter, behind = string(f.form.head.buf), "--"+f.boundary, len(body)-f.form.head.pos
		before = goParts(t, contentType, f.boundary, withoutAudio(f, body[:len(body)-behind]))
	}
	f.Rewrite(r, replace)
	out := readBody(t, r)
	if r.ContentLength != int64(len(out)) {
		t.Fatalf("Content-Length is %d for %d bytes", r.ContentLength, len(out))
	}
	if f.form == nil {
		if out != body {
			t.Fatalf("a raw body was changed")
		}
		return
	}
	label := r.Header.Get("Content-Type")
	head := out[:len(out)-behind]
	parts := goParts(t, label, f.boundary, withoutAudio(f, head))
	checkParts(t, "Go's parser", parts)
	checkParts(t, "a lenient parser", lenientParts(label, head+"\r\n"+delimiter+"--"))
	if len(parts) != len(before) {
		t.Fatalf("%d parts became %d", len(before), len(parts))
	}
	for i, p := range parts {
		if p.name != before[i].name || p.name != "u" && p.name != "d" && p.name != "" && p.value != before[i].value {
			t.Fatalf("the part %q became %q", before[i], p)
		}
	}
	head = out[:len(out)-(len(body)-len(read))]
	if key := secret.Reveal(); len(key) >= 8 && !strings.Contains(upstreamKey, key) {
		if strings.Count(head, key) > strings.Count(read, key)-copiesIn(f, read, key) || strings.Contains(r.URL.RawQuery, "u="+key) {
			t.Fatalf("the client's key went upstream")
		}
	}
}

// copiesIn counts how often the key, unescaped, is in places of the form. read is the head
// of the form.
func copiesIn(f *Found, read, key string) (n int) {
	for _, c := range f.form.occurrences {
		value := read[c.value.from:c.value.to]
		if c.place.SubKey == "" {
			n += strings.Count(value, key)
			continue
		}
		pairs, _ := findPairs(value, c.place.SubKey)
		for _, p := range pairs {
			n += strings.Count(p.value.of(value), key)
		}
	}
	return n
}

// withoutAudio returns the head of a form without the header of the audio. Only the name
// matters in this header, and some parsers cannot read the rest of it.
func withoutAudio(f *Found, head string) string {
	if !f.form.hasAudio {
		return head
	}
	delimiter := "--" + f.boundary
	return head[:strings.LastIndex(head, delimiter)] + delimiter + "--\r\n"
}

func TestR19_NoParserSeesAnotherKeyInAForm(t *testing.T) {
	t.Parallel()
	pieces := []string{
		uPart, evil, aPart, end, part("d", "x authorization="+escaped), part("d", "authorization="+otherKey), part("x", "y"),
		"--B0", "--", "\r\n", "\n", "\r", "--B0\r\n", "--B0--", " ", "\t", "Content-Disposition: form-data; name=\"u\"", "\r\n\r\n",
		"; name=\"u\"", "; filename=\"u\"", "Content-Type: text/plain", "Content-Length: 17", "Content-Transfer-Encoding: binary",
		clientKey, otherKey, "name=", "\"", "a", "u", "d", ":", "--B1\r\n", "\x00", "%75", "=?utf-8?Q?u?=", "=1", "--\"B0=1\"",
	}
	types := []string{formType, `multipart/form-data; boundary="B0"`, "multipart/form-data; boundary=B1; boundary=B0", "multipart/form-data;charset=utf-8;boundary=B0", "multipart/form-data; boundary=B", "multipart/form-data; boundary=B0=1", `multipart/form-data; boundary="B0=1"`}
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 14).Draw(t, "pieces"), "")
		if rapid.Bool().Draw(t, "sound") { // otherwise most bodies are refused at once
			sound := uPart + part("x", "y") + part("d", "z authorization="+escaped) + aPart + end
			at := rapid.IntRange(0, len(sound)).Draw(t, "at")
			if rapid.Bool().Draw(t, "odd") {
				sound = strings.ReplaceAll(sound, "B0", "B0=1")
				at = min(at, len(sound))
			}
			body = sound[:at] + rapid.SampledFrom(pieces).Draw(t, "piece") + sound[at:]
		}
		checkForwarded(t, "", rapid.SampledFrom(types).Draw(t, "type"), body)
	})
}

func FuzzForwarded(f *testing.F) {
	for _, c := range slices.Concat(clients, httpStacks) {
		f.Add("", c.contentType, []byte(c.bytes(clientKey, escaped)))
	}
	for _, body := range []string{uPart + evil + aPart + end, uPart + end + evil, "\r\n" + uPart + aPart + end, uPart + part("x", "y\n--B0\n") + aPart, headed("Content-Disposition: form-data; name=u\r\nContent-Length: 22", clientKey) + aPart} {
		f.Add("u="+escaped, formType, []byte(body))
		f.Add("", `multipart/form-data;charset=utf-8; boundary="B0"`, []byte(body))
	}
	f.Add("d=a+authorization%3D"+doubled+"&c=16K", "audio/wav", []byte("RIFF"))
	f.Add("a;u=x&%75=y&u=z", "application/x-www-form-urlencoded", []byte("u=x"))
	f.Fuzz(func(t *testing.T, query, contentType string, body []byte) {
		if strings.ContainsAny(contentType, "\r\n\x00") || bytes.Contains(body, []byte("UPSTREAM")) {
			t.Skip("a content type that no server accepts, or the word that stands for the upstream key")
		}
		checkForwarded(t, query, contentType, string(body))
	})
}

// FuzzQuery checks that no parser reads another key in a rewritten query.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"u=" + escaped, "a;u=x&u=y", "%75=x&u=y", "U=x&u=y", "?u=x&u=y", "u[]=x&u=y", "u%00=x&u=y", "d=x+authorization=y", "d=x%20authorization%3Dy&u=y", "&&u=x&&", "u=%zz", "u=x;y", "[u]=x&u=y", "u]=x&u=y", "d=author%C4%B1zation%3Dx&u=y", "d=a%0Ab&u=y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := upload(query, "audio/wav", "RIFF")
		found, _, fault := find(t, r, testMaxHead)
		if fault != nil {
			return
		}
		found.Rewrite(r, replace)
		for segment := range strings.SplitSeq(r.URL.RawQuery, "&") {
			for piece := range strings.SplitSeq(segment, ";") {
				name, value, _ := strings.Cut(piece, "=")
				name = readName(name)
				value, err := url.QueryUnescape(value)
				if name == "u" && value != "" && (err != nil || value != upstreamKey) {
					t.Fatalf("%q went upstream as %q, with the key %q", query, r.URL.RawQuery, value)
				}
				if name == "d" {
					checkParts(t, "a lenient parser", []seenPart{{"d", value}})
				}
			}
		}
	})
}
