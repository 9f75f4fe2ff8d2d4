package demo

import (
	"context"
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
	live   bool // out is a terminal
	color  bool
	step   int
	failed bool
	over   func() bool // reports whether the demo was interrupted; may be nil
	broken bool        // a write to out has failed
}

// ended reports whether nobody reads the output any more: the demo was interrupted, or a
// write has failed.
func (s *stage) ended() bool { return s.broken || s.over != nil && s.over() }

// newStage returns a stage that prints to out. A terminal gets colour unless the
// environment variable NO_COLOR is set or TERM is dumb.
func newStage(out io.Writer, getenv func(string) string) *stage {
	s := &stage{out: out}
	if file, ok := out.(*os.File); ok {
		s.live = term.IsTerminal(int(file.Fd()))
	}
	s.color = s.live && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
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

// title prints the title of the next step.
func (s *stage) title(text string) {
	s.step++
	s.print("\n%s", s.paint(bold, fmt.Sprintf("%2d. %s", s.step, text)))
}

// say prints an explanation.
func (s *stage) say(format string, args ...any) {
	s.print("    %s", s.paint(dim, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n    ")))
}

// sent prints a request, and got prints its answer.
func (s *stage) sent(request string) { s.print("    %s %s", s.paint(cyan, "->"), request) }
func (s *stage) got(answer string)   { s.print("    %s %s", s.paint(cyan, "<-"), answer) }

// check prints whether a step had the expected result, and why.
func (s *stage) check(ok bool, why string) {
	if ok {
		s.print("    %s %s", s.paint(green, "ok"), why)
		return
	}
	s.failed = s.failed || !s.ended()
	s.print("    %s %s", s.paint(red, "WRONG"), why)
}

const spinTick = 100 * time.Millisecond

// wait waits until ok returns true, and shows that it waits for what. It returns false if
// ok has not returned true within atMost, or if ctx is done.
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
