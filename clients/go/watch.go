package proxygpt

import (
	"context"
	"crypto/sha256"
)

// FrameKind says what a frame of a watched chat is.
type FrameKind string

// The kinds of frames.
const (
	// FrameMessage is a message, or new text of its reply.
	FrameMessage FrameKind = "message"
	// FrameReset says that frames may be missing: the newest messages follow in their present form, running replies
	// from their first word.
	FrameReset FrameKind = "reset"
)

// Frame is a frame of a watched chat.
type Frame struct {
	Kind FrameKind
	// ID is the place of the frame: WithAfter goes on behind it.
	ID string
	// Message is the whole message, or with Partial the message's id and the new text of its reply.
	Message Message
	// Partial says that the reply goes on.
	Partial bool
}

// Watch is a subscription to all messages of a chat. It belongs to one goroutine at a time.
type Watch struct {
	subscription *subscription
	frame        Frame
	err          error
	isClosed     bool
	ends         rememberedEnds
}

// WatchOption changes a watch.
type WatchOption func(*subscription)

// WithAfter begins behind the frame of that id instead of with the replies that are running.
func WithAfter(id string) WatchOption { return func(s *subscription) { s.lastID = id } }

// Watch subscribes to a chat. Close it in the end. A connection that breaks is replaced by another, without a lost or a
// repeated frame; where that is not possible there is a frame of the kind FrameReset.
func (c *Chats) Watch(ctx context.Context, id string, options ...WatchOption) (*Watch, error) {
	s := &subscription{client: c.client, ctx: ctx, chatID: id}
	for _, option := range options {
		option(s)
	}
	w := &Watch{subscription: s}
	if err := s.await(); err != nil {
		s.close()
		return nil, err
	}
	return w, nil
}

// Next waits for the next frame. It returns false after an error: a watch has no end of its own.
func (w *Watch) Next() bool {
	for !w.isClosed && w.err == nil {
		next, err := w.subscription.next()
		if err != nil {
			w.err = err
			break
		}
		switch {
		case next.name == "reset":
			w.ends = rememberedEnds{}
			w.frame = Frame{Kind: FrameReset, ID: next.id}
			return true
		case next.name == "message" && next.data != nil:
			frame, err := next.frame()
			if err != nil {
				w.err = err
				break
			}
			if w.ends.isRepeated(frame, next.data) {
				continue
			}
			w.frame = Frame{Kind: FrameMessage, ID: next.id, Message: frame.Message, Partial: frame.Partial}
			return true
		}
	}
	w.subscription.close()
	return false
}

// Frame returns the frame that the last call of Next has waited for.
func (w *Watch) Frame() Frame { return w.frame }

// Err returns the error that ended the watch, or nil: an *Error of status 401 after a log-out, of status 404 when the
// chat is no longer the user's to read; the context's error when the context has ended.
func (w *Watch) Err() error { return w.err }

// Close ends the watch.
func (w *Watch) Close() error {
	w.isClosed = true
	w.subscription.close()
	return nil
}

// rememberedEnds knows the newest final frames. A resumed stream may repeat one.
type rememberedEnds struct {
	digests map[string][sha256.Size]byte
	order   []string
}

// endLimit is the number of final frames that are remembered.
const endLimit = 1000

// isRepeated says whether a frame is a final one that came before, and remembers it.
func (r *rememberedEnds) isRepeated(f frame, data []byte) bool {
	id := f.Message.ID
	if f.Partial {
		// The reply runs again.
		delete(r.digests, id)
		return false
	}
	digest := sha256.Sum256(data)
	known, isKnown := r.digests[id]
	if isKnown && known == digest {
		return true
	}
	if r.digests == nil {
		r.digests = map[string][sha256.Size]byte{}
	}
	if !isKnown {
		r.order = append(r.order, id)
	}
	r.digests[id] = digest
	if len(r.order) > endLimit {
		delete(r.digests, r.order[0])
		r.order = r.order[1:]
	}
	return false
}
