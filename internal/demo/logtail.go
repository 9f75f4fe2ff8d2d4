package demo

import (
	"bufio"
	"encoding/json"
	"os"
)

// logTail reads the lines that Caddy adds to its log file.
type logTail struct {
	file   *os.File
	reader *bufio.Reader
	part   string // the beginning of a line whose end is not in the file yet
}

func openLogTail(path string) (*logTail, error) {
	file, err := os.Open(path) //nolint:gosec // the demo has made the file
	if err != nil {
		return nil, err
	}
	return &logTail{file: file, reader: bufio.NewReader(file)}, nil
}

// Close closes the file.
func (l *logTail) Close() error { return l.file.Close() }

// decision is a line of the log that tells a decision.
type decision struct {
	Logger    string `json:"logger"`
	Reason    string `json:"reason"`
	Operation string `json:"operation"`
}

// decisions returns the decisions that were logged since the last call.
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
