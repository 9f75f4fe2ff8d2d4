package jsonanswer

import "bytes"

// release returns the bytes of in, up to the position end, that can leave, and keeps the rest. No
// entry is undecided, except one that has not ended.
func (ed *Editor) release(in []byte, end int) []byte {
	if len(ed.entries) == 0 && len(ed.strings) == 0 && len(ed.held) == 0 && !ed.waits() {
		return in[:end]
	}
	ended := ed.entries
	hold := end // what comes from here on does not leave
	switch {
	case ed.waits():
		hold = 0
	case ed.inEntry:
		hold, ended = ed.last().from, ended[:len(ended)-1]
	case ed.inString:
		hold = ed.strings[len(ed.strings)-1].from
	}
	ed.out = ed.out[:0]
	at, texts := 0, ed.strings
	for i := range ended {
		e := &ended[i]
		texts = ed.send(in, at, e.from, texts)
		ed.anyKept = ed.anyKept && !e.first
		if e.verdict == kept {
			from := e.from
			if !ed.anyKept {
				from = e.value
			}
			ed.anyKept = true
			texts = ed.send(in, from, e.to, texts)
		}
		at = e.to
	}
	texts = ed.send(in, at, hold, texts)
	ed.keepRest(in, hold, end, texts)
	return ed.out
}

// send appends in[from:to] to out, with the strings of texts replaced that are there. It returns the
// strings behind them. Strings before from are in entries that are dropped.
func (ed *Editor) send(in []byte, from, to int, texts []span) []span {
	for len(texts) > 0 && texts[0].from < to {
		text := texts[0]
		texts = texts[1:]
		if text.from < from {
			continue
		}
		ed.out = append(ed.out, in[from:text.from]...)
		ed.sendReplaced(in[text.from:text.to])
		from = text.to
	}
	ed.out = append(ed.out, in[from:to]...)
	return texts
}

// sendReplaced appends a string with what replaces it.
func (ed *Editor) sendReplaced(quoted []byte) {
	text, err := decode(quoted)
	if err != nil {
		if ed.err == nil {
			ed.fail(err)
		}
		return
	}
	start := len(ed.out)
	ed.out = ed.replace(append(ed.out, '"'), text)
	switch replaced := ed.out[start+1:]; {
	case bytes.Equal(replaced, text):
		ed.out = append(ed.out[:start], quoted...)
	case isPlain(replaced):
		ed.out = append(ed.out, '"')
	default:
		ed.out = appendQuoted(ed.out[:start], string(replaced))
	}
}

// keepRest keeps in[from:end], with the strings in it, unless it belongs to an entry that is dropped.
func (ed *Editor) keepRest(in []byte, from, end int, texts []span) {
	ed.strings = append(ed.strings[:0], texts...)
	for i := range ed.strings {
		ed.strings[i].from, ed.strings[i].to = ed.strings[i].from-from, ed.strings[i].to-from
	}
	if !ed.inEntry {
		ed.entries = ed.entries[:0]
	} else {
		current := *ed.last()
		if ed.dropping() { // the rest of it is dropped too
			from = end
			ed.strings, ed.inString = ed.strings[:0], false
		}
		current.from, current.value = 0, current.value-from
		ed.entries = append(ed.entries[:0], current)
	}
	if from == 0 && len(ed.held) > 0 {
		ed.held = ed.held[:end]
		return
	}
	ed.held = append(ed.held[:0], in[from:end]...)
}
