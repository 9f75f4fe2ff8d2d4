package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// stage prints the demo's steps, with colour and a spinner on a terminal.
type stage struct {
	out    io.Writer
	live   bool // a terminal
	color  bool
	step   int
	failed bool
	over   func() bool // whether somebody has ended the show; nil for never
	broken bool        // whether what was printed got lost
}

// ended reports whether the show goes on for nobody.
func (s *stage) ended() bool { return s.broken || s.over != nil && s.over() }

func newStage(out io.Writer) *stage {
	s := &stage{out: out}
	if file, ok := out.(*os.File); ok {
		s.live = term.IsTerminal(int(file.Fd()))
	}
	s.color = s.live && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *stage) paint(style, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *stage) print(format string, args ...any) {
	if s.ended() {
		return
	}
	_, err := fmt.Fprintf(s.out, format+"\n", args...)
	s.broken = err != nil
}

// title begins a step.
func (s *stage) title(text string) {
	s.step++
	s.print("\n%s", s.paint(bold, fmt.Sprintf("%2d. %s", s.step, text)))
}

// say explains, in lines of its own.
func (s *stage) say(format string, args ...any) {
	s.print("    %s", s.paint(dim, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n    ")))
}

// sent and got show a request in one line, and its answer.
func (s *stage) sent(request string) { s.print("    %s %s", s.paint(cyan, "->"), request) }
func (s *stage) got(answer string)   { s.print("    %s %s", s.paint(cyan, "<-"), answer) }

// check says whether a step came out right, and why it came out as it did.
func (s *stage) check(ok bool, why string) {
	if ok {
		s.print("    %s %s", s.paint(green, "ok"), why)
		return
	}
	s.failed = s.failed || !s.ended()
	s.print("    %s %s", s.paint(red, "WRONG"), why)
}

const spinTick = 100 * time.Millisecond

// wait waits until ok, and shows that it does. It reports whether that came
// about in time.
func (s *stage) wait(ctx context.Context, what string, atMost time.Duration, ok func() bool) bool {
	if !s.live {
		s.print("    .. %s", what)
	}
	tick := time.NewTicker(spinTick)
	defer tick.Stop()
	begun := time.Now()
	came := false
	for i := 0; time.Since(begun) < atMost && ctx.Err() == nil; i++ {
		if i%2 == 0 && ok() {
			came = true
			break
		}
		if s.live {
			_, _ = fmt.Fprintf(s.out, "\r    %s %s, %.0f s ", s.paint(cyan, `|/-\`[i%4:i%4+1]), what, time.Since(begun).Seconds())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if s.live {
		_, _ = io.WriteString(s.out, "\r"+strings.Repeat(" ", len(what)+20)+"\r")
	}
	return came
}

// logTail reads what Caddy logs.
type logTail struct {
	file   *os.File
	reader *bufio.Reader
	part   string // a line that has not come whole
}

func openLogTail(path string) (*logTail, error) {
	file, err := os.Open(path) //nolint:gosec // the demo's own file
	if err != nil {
		return nil, err
	}
	return &logTail{file: file, reader: bufio.NewReader(file)}, nil
}

// Close closes the file.
func (l *logTail) Close() error { return l.file.Close() }

// decision is a line of the log in which a gate says what it decided.
type decision struct {
	Logger    string `json:"logger"`
	Reason    string `json:"reason"`
	Operation string `json:"operation"`
}

// decisions are those that were logged since the last call.
func (l *logTail) decisions() []decision {
	var found []decision
	for {
		text, err := l.reader.ReadString('\n')
		l.part += text
		if err != nil {
			return found
		}
		var d decision
		if json.Unmarshal([]byte(l.part), &d) == nil && d.Reason != "" {
			found = append(found, d)
		}
		l.part = ""
	}
}
