package proxygpt

import "strings"

// replyText joins the deltas of one reply, and knows which part of a repeated reply is new.
//
// After a reset the server sends a running reply from its first word again, and a final frame has the whole reply. In
// both cases the text that is already known is compared and left out.
type replyText struct {
	text strings.Builder
	// position is the length of the text that the frames since the last restart add up to.
	position int
	// isLost says that a delta did not continue the text: only a restart or the whole reply helps.
	isLost bool
}

// restart notes that the deltas begin at the first word again.
func (r *replyText) restart() {
	r.position, r.isLost = 0, false
}

// add takes a delta and returns the part of it that is new.
func (r *replyText) add(delta string) string {
	if r.isLost {
		return ""
	}
	known := r.text.String()[r.position:]
	if len(known) > len(delta) {
		known = known[:len(delta)]
	}
	if !strings.HasPrefix(delta, known) {
		r.isLost = true
		return ""
	}
	fresh := delta[len(known):]
	r.position += len(delta)
	r.text.WriteString(fresh)
	return fresh
}

// finish takes the whole reply and returns what is new of it: nothing, where the reply does not continue the text.
func (r *replyText) finish(reply string) string {
	if !strings.HasPrefix(reply, r.text.String()) {
		return ""
	}
	return reply[r.text.Len():]
}

// String returns the text so far, without a copy.
func (r *replyText) String() string { return r.text.String() }
