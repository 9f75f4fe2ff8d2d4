package sandbox

import "strings"

// parameter returns the first parameter with this name in the value of a header field,
// such as Content-Disposition, and the number of parameters with this name.
//
// It reads everything that HTTP stacks write, which is more than RFC 2045 allows: a
// boundary with an equals sign and without quotation marks, a Windows path, a file
// name in Shift_JIS, where the second byte of a character can be a backslash. So a
// quoted value ends at the first quotation mark before a semicolon or the end, and a
// backslash does not escape anything.
func parameter(field, name string) (value string, count int) {
	_, rest, _ := strings.Cut(field, ";")
	for rest != "" {
		end := strings.IndexAny(rest, "=;")
		if end < 0 {
			break
		}
		key, hasValue := rest[:end], rest[end] == '='
		rest = rest[end+1:]
		if !hasValue {
			continue
		}
		var v string
		if v, rest = parameterValue(strings.TrimLeft(rest, " \t")); !strings.EqualFold(strings.Trim(key, " \t"), name) {
			continue
		}
		if count++; count == 1 {
			value = v
		}
	}
	return value, count
}

// parameterValue returns a parameter's value, and the text after its semicolon.
func parameterValue(text string) (value, rest string) {
	if quoted, ok := strings.CutPrefix(text, `"`); ok {
		for at := range len(quoted) {
			if quoted[at] != '"' {
				continue
			}
			after := strings.TrimLeft(quoted[at+1:], " \t")
			if after == "" {
				return quoted[:at], ""
			}
			if after[0] == ';' {
				return quoted[:at], after[1:]
			}
		}
	}
	value, rest, _ = strings.Cut(text, ";")
	return strings.TrimRight(value, " \t"), rest
}
