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

// otherParser is a program in testdata/parsers. It reads one request from each line:
//
//	query HEX       a raw query
//	pairs HEX       the value of a d, which it splits as an application in its language would
//	form TYPE BODY  a body in hexadecimal, and its Content-Type, which may be empty
//
// It answers each line with a line of name=value in hexadecimal, separated by spaces: the
// top-level names, and every text below each name.
type otherParser struct {
	name    string
	probe   []string // succeeds if the parser is installed
	command []string
	forms   bool // the parser reads forms
}

var otherParsers = []otherParser{
	{"Python", []string{"python3", "-W", "ignore", "-c", "import cgi"}, []string{"python3", "parse.py"}, true},
	{"Rack", []string{"ruby", "-e", "require 'rack'"}, []string{"ruby", "parse.rb"}, true},
	{"CGI.pm", []string{"perl", "-MCGI", "-e", "1"}, []string{"perl", "parse.pl"}, true},
	{"PHP", []string{"php", "--version"}, []string{"php", "parse.php"}, false},
	{"qs", []string{"node", "-e", "require('qs')"}, []string{"node", "parse.js"}, false},
	{"Java", []string{"java", "--version"}, []string{"java", "-XX:TieredStopAtLevel=1", "Parse.java"}, false}, // C1 alone: a short program
}

// nodePath is where Debian has the packages of Node.js.
const nodePath = "/usr/share/nodejs"

// read starts the parser and returns its answers to lines. It skips the test if the parser
// is not installed, and fails it if CI is set in the environment too.
func (p otherParser) read(t *testing.T, lines []string) (answers [][]seenPart) {
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
		for word := range strings.FieldsSeq(line) {
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

// spellingsOf returns many spellings of a name. They are the same in every run.
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

// Each parser is started once, and reads the queries, pairs and forms of all three checks.
func TestR19_NoOtherParserReadsAnotherKey(t *testing.T) {
	t.Parallel()
	queries, pairs, forms := plantedQueries(), plantedPairs(), forwardedForms(t)
	for _, p := range otherParsers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var lines []string
			for _, query := range queries {
				lines = append(lines, "query "+hex.EncodeToString([]byte(query)))
			}
			for _, value := range pairs {
				lines = append(lines, "pairs "+hex.EncodeToString([]byte(value)))
			}
			for _, form := range forms {
				if p.forms {
					lines = append(lines, "form "+hex.EncodeToString([]byte(form.contentType))+" "+hex.EncodeToString([]byte(form.body)))
				}
			}
			answers := p.read(t, lines)
			ofQueries, answers := answers[:len(queries)], answers[len(queries):]
			ofPairs, ofForms := answers[:len(pairs)], answers[len(pairs):]
			checkPlantedQueries(t, p.name, queries, ofQueries)
			checkPlantedPairs(t, p.name, pairs, ofPairs)
			if p.forms {
				checkForwardedForms(t, p.name, forms, ofForms)
			}
		})
	}
}

// plantedQueries are queries with a key under many spellings of a key's parameter.
func plantedQueries() (queries []string) {
	for _, name := range spellingsOf("u") {
		queries = append(queries, name+"="+planted, "c=16K&"+name+"="+planted)
	}
	for _, name := range spellingsOf("d") {
		queries = append(queries, name+"=x+authorization%3D"+planted)
	}
	return queries
}

// checkPlantedQueries checks that the gateway finds or refuses every key that the parser
// reads in a query, and masks it in logs.
func checkPlantedQueries(t *testing.T, parser string, queries []string, answers [][]seenPart) {
	t.Helper()
	read := 0
	for i, answer := range answers {
		for _, seen := range answer {
			if seen.name != "u" && seen.name != "d" || !strings.Contains(seen.value, planted) {
				continue
			}
			read++
			r := upload(queries[i], "audio/wav", "RIFF")
			f, secret, fault := find(t, r, testMaxHead)
			if f.fault == nil && (fault != nil || secret.Reveal() != planted) {
				t.Errorf("%s reads %s in %q, and the gate does not: %v", parser, seen.name, queries[i], fault)
			}
			if masked := MaskURI("/v1/recognize?"+queries[i], api.Places); strings.Contains(masked, planted) {
				t.Errorf("%s reads %s in %q, and the log shows %q", parser, seen.name, queries[i], masked)
			}
			if fault != nil {
				continue
			}
			if f.Rewrite(r, replace); strings.Contains(r.URL.RawQuery, planted) {
				t.Errorf("%s reads %s in %q, and it goes upstream as %q", parser, seen.name, queries[i], r.URL.RawQuery)
			}
		}
	}
	if read < 5 {
		t.Errorf("%s has read only %d keys of %d", parser, read, len(queries))
	}
}

// plantedPairs are values of d with a key under many spellings of the pair's name.
func plantedPairs() (values []string) {
	for _, name := range spellingsOf("authorization") {
		for _, before := range []string{"", "x ", "x  ", "x\n", "x\u3000", "y=authorization "} {
			values = append(values, before+name+"="+planted, before+name+"%3D"+planted)
		}
	}
	return values
}

// checkPlantedPairs checks that the gateway finds or refuses every pair that an
// application reads as the key in d, and masks it in logs.
func checkPlantedPairs(t *testing.T, parser string, values []string, answers [][]seenPart) {
	t.Helper()
	read := 0
	for i, answer := range answers {
		for range answer {
			read++
			found, fault := findPairs(values[i], "authorization")
			if fault == nil && (len(found) != 1 || found[0].key != planted) {
				t.Errorf("%s reads a key in %q, and the gate reads %v", parser, values[i], found)
			}
			uri := "/v1/recognize?d=" + url.QueryEscape(values[i])
			if masked := MaskURI(uri, api.Places); strings.Contains(masked, planted) {
				t.Errorf("%s reads a key in %q, and the log shows %q", parser, uri, masked)
			}
		}
	}
	if read < 5 {
		t.Errorf("%s has read only %d keys of %d", parser, read, len(values))
	}
}

// forwardedForm is a body as the backend gets it.
type forwardedForm struct{ contentType, body string }

// forwardedForms are the bodies that go to the backend, with many labels and with many
// headers of their parts.
func forwardedForms(t *testing.T) (forms []forwardedForm) {
	t.Helper()
	type body struct{ query, contentType, text string }
	var bodies []body
	for _, c := range slices.Concat(clients, httpStacks) {
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
	for _, b := range bodies {
		r := upload(b.query, b.contentType, b.text)
		f, _, fault := find(t, r, testMaxHead)
		if fault != nil {
			continue
		}
		f.Rewrite(r, replace)
		forms = append(forms, forwardedForm{r.Header.Get("Content-Type"), readBody(t, r)})
	}
	return forms
}

// checkForwardedForms checks that the parser reads the upstream key in a body that goes to
// the backend, or no key.
func checkForwardedForms(t *testing.T, parser string, forms []forwardedForm, answers [][]seenPart) {
	t.Helper()
	read := 0
	for i, answer := range answers {
		for _, seen := range answer {
			key := seen.name == "u" || seen.name == "d" && strings.Contains(seen.value, "authorization")
			if key && strings.Contains(seen.value, otherKey) || strings.Contains(seen.value, clientKey) {
				t.Errorf("%s sees the key %q in %s of %q as %q", parser, seen.value, seen.name, forms[i].body, forms[i].contentType)
			}
			if seen.name == "u" && seen.value == upstreamKey {
				read++
			}
		}
	}
	if read < 5 {
		t.Errorf("%s has read the upstream key only %d times in %d bodies", parser, read, len(forms))
	}
}
