package jsonanswer

// skim reads what walk would read between two events, as long as it is simple: white space, names and
// values that no path leads to, and what separates them. A string must be whole in p and must not have
// an escape. It also reads plain names that a path leads to. It returns the number of bytes that it
// has read, and a failEvent or no event. Nearly all of an answer is read here.
func (w *walker) skim(p []byte) (n int, e event) {
	next := w.next
	apart := w.lost > 0 || w.node == nil // no path leads into this array or object
	object := w.depth > 0 && !w.inArray()
	for n < len(p) {
		switch c := p[n]; c {
		case ' ', '\n', '\r', '\t':
			n++
			continue
		case '"':
			isName := next == nextName || next == nextFirstName
			if !isName && (w.value != nil || next != nextValue && next != nextFirstElement) {
				break
			}
			end := n + 1 + unescaped(p[n+1:])
			if end == len(p) || p[end] != '"' {
				break
			}
			if isName && !apart && w.node.mayHave(p[n+1:end]) {
				if !isPlain(p[n+1 : end]) {
					break
				}
				if e := w.named(p[n+1 : end]); e != noEvent {
					return end + 1, e
				}
			}
			if n = end + 1; !isName {
				next = nextComma
				continue
			}
			if next = nextColon; n < len(p) && p[n] == ':' {
				next = nextValue
				n++
			}
			continue
		case ':':
			if next == nextColon {
				next = nextValue
				n++
				continue
			}
		case ',':
			if next == nextComma && object {
				next = nextName
				n++
				continue
			}
			if next == nextComma && (apart || w.node.element == nil) {
				next = nextValue
				n++
				continue
			}
		default:
			if !isWord[c] || w.value != nil || next != nextValue && next != nextFirstElement {
				break
			}
			end := n + 1
			for end < len(p) && isWord[p[end]] {
				end++
			}
			if end == len(p) {
				break
			}
			n = end
			next = nextComma
			continue
		}
		break
	}
	w.next = next
	return n, noEvent
}
