package phrase_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/speechgate/speechgate/internal/phrase"
)

func TestText_IsTheEnglishSentence(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]phrase.Text{
		"":                        {},
		"the key is 100% wrong":   phrase.New("the key is %d%% wrong", 100),
		"it is revoked already":   phrase.New("it is %s already", phrase.Word("revoked")),
		"at 3: it is empty":       phrase.New("at %d: %v", 3, phrase.Errorf("it is empty")),
		"1 key":                   phrase.Count(1, "%d key", "%d keys"),
		"0 keys":                  phrase.Count(0, "%d key", "%d keys"),
		"want a":                  phrase.New("want %s", phrase.Or([]string{"a"})),
		"want a or b":             phrase.New("want %s", phrase.Or([]string{"a", "b"})),
		"want a, b or c":          phrase.New("want %s", phrase.Or([]string{"a", "b", "c"})),
		"want ":                   phrase.New("want %s", phrase.Or(nil)),
		"of acc_1 (open), acc_2 ": phrase.New("of %s ", phrase.List([]phrase.Text{phrase.New("%s (%s)", "acc_1", phrase.Word("open")), phrase.New("acc_2")})),
	} {
		if got := text.String(); got != want {
			t.Errorf("%q is %q, want %q", text.Format(), got, want)
		}
	}
}

func TestErrorf_IsTheErrorOfFmtWithAText(t *testing.T) {
	t.Parallel()
	err := phrase.Errorf("line %d: %w", 7, io.ErrUnexpectedEOF)
	if err.Error() != "line 7: unexpected EOF" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the error is %v", err)
	}
	text, ok := phrase.Of(fmt.Errorf("outside: %w", err))
	if !ok || text.String() != "line 7: unexpected EOF" || text.Format() != "line %d: %v" || !slices.Equal(text.Values(), []any{7, io.ErrUnexpectedEOF}) {
		t.Errorf("its text is %q %v", text, text.Values())
	}
	if text, ok := phrase.Of(io.EOF); ok {
		t.Errorf("another error has the text %q", text)
	}
}

func TestWith_ReplacesTheValues(t *testing.T) {
	t.Parallel()
	text := phrase.New("%d of %d", 1, 2)
	other := text.With(func(value any) any { return 10 * value.(int) })
	if text.String() != "1 of 2" || other.String() != "10 of 20" {
		t.Errorf("%q becomes %q", text, other)
	}
}
