package credential

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A foreign parser is a program of testdata/parsers. It reads a request from each line:
//
//	query HEX       a raw query
//	pairs HEX       the value of a d, as an application in the language would split it
//	form TYPE BODY  a body in hexadecimal, and its Content-Type, which may be empty
//
// and answers with a line of name=value in hexadecimal, separated by spaces: the
// top-level names, and every text below each.
type foreign struct {
	name    string
	probe   []string // succeeds where the parser is installed
	command []string
	forms   bool // whether it reads forms
}

var foreigners = []foreign{
	{"Python", []string{"python3", "-W", "ignore", "-c", "import cgi"}, []string{"python3", "parse.py"}, true},
	{"Rack", []string{"ruby", "-e", "require 'rack'"}, []string{"ruby", "parse.rb"}, true},
	{"CGI.pm", []string{"perl", "-MCGI", "-e", "1"}, []string{"perl", "parse.pl"}, true},
	{"PHP", []string{"php", "--version"}, []string{"php", "parse.php"}, false},
	{"qs", []string{"node", "-e", "require('qs')"}, []string{"node", "parse.js"}, false},
	{"Java", []string{"java", "--version"}, []string{"java", "Parse.java"}, false},
}

// nodePath is where Debian keeps Node.js's packages.
const nodePath = "/usr/share/nodejs"

// read has the parser read lines. With CI set in the environment, the parser must be
// installed.
func (p foreign) read(t *testing.T, lines []string) (answers [][]seenPart) {
	t.Helper()
	environment := append(os.Environ(), "NODE_PATH="+os.Getenv("NODE_PATH")+":"+nodePath)
	probe := exec.CommandContext(t.Context(), p.probe[0], p.probe[1:]...)
	probe.Env = environment
	if err := probe.Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed, and with CI set it must be: %q: %v", p.name, p.probe, err)
		}
		t.Skipf("%s is not installed", p.name)
	}
	command := exec.CommandContext(t.Context(), p.command[0], p.command[1:]...)
	command.Env = environment
	command.Dir = filepath.Join("testdata", "parsers")
	command.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", p.name, err, problems.String())
	}
	for line := range strings.Lines(string(out)) {
		var answer []seenPart
		for _, word := range strings.Fields(line) {
			name, value, _ := strings.Cut(word, "=")
			answer = append(answer, seenPart{unhex(t, name), unhex(t, value)})
		}
		answers = append(answers, answer)
	}
	if len(answers) != len(lines) {
		t.Fatalf("%s has answered %d lines of %d\n%s", p.name, len(answers), len(lines), problems.String())
	}
	return answers
}

func unhex(t *testing.T, text string) string {
	t.Helper()
	out, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// spellingsOf draws many spellings of a name, the same ones each time.
func spellingsOf(name string) []string {
	gen := rapid.Custom(func(t *rapid.T) string {
		var out strings.Builder
		around := rapid.SampledFrom([]string{"", "", "[", "]", "[]", "[x]", "[0]", "%5B", "%5D", " ", "+", "%20", "%09", "?", "%00", ".", "%2E", "'", "%22", "\u200b", "%E3%80%80", "%ff"})
		out.WriteString(around.Draw(t, "before"))
		for _, c := range name {
			spelled := string(c)
			switch rapid.IntRange(0, 6).Draw(t, "how") {
			case 0:
				spelled = strings.ToUpper(spelled)
			case 1:
				spelled = fmt.Sprintf("%%%02x", c)
			case 2:
				spelled = fmt.Sprintf("%%25%02X", c)
			case 3:
				spelled = strings.NewReplacer("i", "\u0131", "s", "\u017f", "k", "\u212a").Replace(spelled)
			case 4:
				spelled = url.QueryEscape(strings.NewReplacer("i", "\u0130", "u", "\uff55", "a", "\uff41").Replace(spelled))
			}
			out.WriteString(spelled)
		}
		out.WriteString(around.Draw(t, "behind"))
		return out.String()
	})
	seen := []string{name, "[" + name + "]", name + "]", "]" + name, name + "[]", name + "[a][b]", "%5B" + name + "%5D", "[[" + name + "]]"}
	for seed := range 600 {
		seen = append(seen, gen.Example(seed))
	}
	slices.Sort(seen)
	return slices.Compact(seen)
}

const planted = "PLANTEDKEY0123456789"

// Whatever a parser reads as the name of a key's parameter is found or refused here,
// and masked in logs.
func TestR19_NoForeignParserReadsAKeyInAQueryThatIsNotJudged(t *testing.T) {
	var queries, lines []string
	for _, name := range spellingsOf("u") {
		queries = append(queries, name+"="+planted, "c=16K&"+name+"="+planted)
	}
	for _, name := range spellingsOf("d") {
		queries = append(queries, name+"=x+authorization%3D"+planted)
	}
	for _, query := range queries {
		lines = append(lines, "query "+hex.EncodeToString([]byte(query)))
	}
	for _, p := range foreigners {
		t.Run(p.name, func(t *testing.T) {
			read := 0
			for i, answer := range p.read(t, lines) {
				for _, seen := range answer {
					if seen.name != "u" && seen.name != "d" || !strings.Contains(seen.value, planted) {
						continue
					}
					read++
					r := upload(queries[i], "audio/wav", "RIFF")
					f, secret, fault := find(t, r, testMaxHead)
					if f.fault == nil && (fault != nil || secret.Reveal() != planted) {
						t.Errorf("%s reads %s in %q, and the gate does not: %v", p.name, seen.name, queries[i], fault)
					}
					if masked := MaskURI("/v1/recognize?"+queries[i], api.Places); strings.Contains(masked, planted) {
						t.Errorf("%s reads %s in %q, and the log shows %q", p.name, seen.name, queries[i], masked)
					}
					if fault != nil {
						continue
					}
					if f.Rewrite(r, replace); strings.Contains(r.URL.RawQuery, planted) {
						t.Errorf("%s reads %s in %q, and it goes upstream as %q", p.name, seen.name, queries[i], r.URL.RawQuery)
					}
				}
			}
			if read < 5 {
				t.Errorf("%s has read only %d keys of %d", p.name, read, len(queries))
			}
		})
	}
}

// Whatever an application reads as the pair of a key in d is found or refused.
func TestR19_NoForeignParserReadsAPairThatIsNotJudged(t *testing.T) {
	var values, lines []string
	for _, name := range spellingsOf("authorization") {
		for _, before := range []string{"", "x ", "x  ", "x\n", "x\u3000", "y=authorization "} {
			values = append(values, before+name+"="+planted, before+name+"%3D"+planted)
		}
	}
	for _, value := range values {
		lines = append(lines, "pairs "+hex.EncodeToString([]byte(value)))
	}
	for _, p := range foreigners {
		t.Run(p.name, func(t *testing.T) {
			read := 0
			for i, answer := range p.read(t, lines) {
				for range answer {
					read++
					found, fault := findPairs(values[i], "authorization")
					if fault == nil && (len(found) != 1 || found[0].key != planted) {
						t.Errorf("%s reads a key in %q, and the gate reads %v", p.name, values[i], found)
					}
					uri := "/v1/recognize?d=" + url.QueryEscape(values[i])
					if masked := MaskURI(uri, api.Places); strings.Contains(masked, planted) {
						t.Errorf("%s reads a key in %q, and the log shows %q", p.name, uri, masked)
					}
				}
			}
			if read < 5 {
				t.Errorf("%s has read only %d keys of %d", p.name, read, len(values))
			}
		})
	}
}

// What goes upstream shows the backend's key to every parser, or none, whatever the
// label and the parts' headers are.
func TestR19_NoForeignParserSeesAnotherKeyInABody(t *testing.T) {
	type body struct{ query, contentType, text string }
	var bodies []body
	for _, c := range slices.Concat(clients, stacks) {
		bodies = append(bodies, body{"", c.contentType, c.bytes(clientKey, escaped)})
	}
	for _, contentType := range []string{
		"", "text/plain", "application/json", "application/xml", "application/x-www-form-urlencoded", "audio/wav", "x/y", "*/*", "form",
		"audio/wav; application/x-www-form-urlencoded", "application/ogg", "multipart/related; boundary=B0", "multipart/form-data", "multipart/mixed; boundary=B0", "application/octet-stream, multipart/form-data; boundary=B0",
	} {
		for _, text := range []string{"u=" + otherKey, "u=" + otherKey + "&d=x+authorization%3D" + otherKey, "u=" + otherKey + "\x00&x=1", evil + end, `{"u":"` + otherKey + `"}`} {
			bodies = append(bodies, body{"u=" + escaped, contentType, text})
		}
	}
	headers := []string{"x", `"x"`, `"u"`, `u`, `"d"`, `'u'`, `"%75"`, `"u[]"`, `"[u]"`, `"U"`, `" u"`, `"\u"`, `"u"; name="x"`, `"x"; name="u"`, `"x"; name=u`, `"x"; filename="; name=u"`, `"x"; filename="u"`, `"x"; filename=u`, `"x"; xname="u"`, `"x"; name*=utf-8''u`, `"x\"; name=\"u"`}
	for _, name := range headers {
		for _, header := range []string{
			"Content-Disposition: form-data; name=" + name,
			"Content-Disposition: form-data; filename=\"u\"; name=" + name,
			"Content-Disposition: form-data; filename=\"x\\\"; name=" + name,
			"Content-Disposition: form-data; filename=x; name=" + name + "\r\nContent-Type: text/plain; name=\"u\"",
			"Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=" + name,
			"Content-Type: multipart/form-data\r\nContent-Disposition: form-data; name=" + name,
			"Content-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name=" + name,
		} {
			for _, value := range []string{otherKey, "authorization=" + otherKey, "x\n--B0\n" + evil} {
				bodies = append(bodies, body{"u=" + escaped, formType, headed(header, value) + aPart + end})
			}
		}
	}
	var lines []string
	var sent []string
	for _, b := range bodies {
		r := upload(b.query, b.contentType, b.text)
		f, _, fault := find(t, r, testMaxHead)
		if fault != nil {
			continue
		}
		f.Rewrite(r, replace)
		out := readBody(t, r)
		sent = append(sent, fmt.Sprintf("%q as %q", out, r.Header.Get("Content-Type")))
		lines = append(lines, "form "+hex.EncodeToString([]byte(r.Header.Get("Content-Type")))+" "+hex.EncodeToString([]byte(out)))
	}
	for _, p := range foreigners {
		if !p.forms {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			read := 0
			for i, answer := range p.read(t, lines) {
				for _, seen := range answer {
					key := seen.name == "u" || seen.name == "d" && strings.Contains(seen.value, "authorization")
					if key && strings.Contains(seen.value, otherKey) || strings.Contains(seen.value, clientKey) {
						t.Errorf("%s sees the key %q in %s of %s", p.name, seen.value, seen.name, sent[i])
					}
					if seen.name == "u" && seen.value == upstreamKey {
						read++
					}
				}
			}
			if read < 5 {
				t.Errorf("%s has read the backend's key only %d times in %d bodies", p.name, read, len(lines))
			}
		})
	}
}
