package proxygpt

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Delta is a part of a streamed reply.
type Delta struct {
	// Text is the new text. The texts of all deltas, joined, are the reply.
	Text string
	// Message is the message so far; its Reply is the whole text so far.
	Message Message
	// Done says that the reply has ended: it is complete, or was stopped, as Message.State says.
	Done bool
}

// Stream is a reply while it is written. It belongs to one goroutine at a time; its context may end anywhere.
type Stream struct {
	chats        *Chats
	ctx          context.Context
	subscription *subscription
	// messageID names the message of the prompt, and message is the message so far.
	messageID string
	message   Message
	text      replyText
	delta     Delta
	err       error
	// failure is the error that follows the delta at hand.
	failure error
	isOver  bool

	// over is closed when there is nothing to stop any more.
	over     chan struct{}
	endOnce  sync.Once
	stopOnce sync.Once
	stopErr  error
}

// Stream sends a prompt and returns its reply as it is written. Close it in the end.
//
// When the context ends, or the stream is closed before the reply has ended, the reply is stopped at the model's server
// too. A connection that breaks is replaced by another, without a lost or a repeated word.
func (c *Chats) Stream(ctx context.Context, id, text string, options ...PromptOption) (*Stream, error) {
	p, err := newPrompt(id, text, true, options)
	if err != nil {
		return nil, err
	}
	s := &Stream{
		chats: c, ctx: ctx, over: make(chan struct{}),
		subscription: &subscription{client: c.client, ctx: ctx, chatID: id},
	}
	// The subscription first, so that no frame of the reply is missed.
	if err := s.subscription.await(); err != nil {
		s.subscription.close()
		return nil, err
	}
	reply, err := c.sendOrStop(ctx, p)
	if err != nil {
		s.subscription.close()
		return nil, err
	}
	s.message, s.messageID = reply.Message, reply.Message.ID
	go s.stopWithContext()
	return s, nil
}

// sendOrStop sends a prompt. When the context ends meanwhile, the reply is stopped as soon as its message is known.
func (c *Chats) sendOrStop(ctx context.Context, p *prompt) (*Reply, error) {
	type outcome struct {
		reply *Reply
		err   error
	}
	sending, cancel := context.WithCancel(detached{ctx})
	defer cancel()
	answered := make(chan outcome, 1)
	go func() {
		reply, err := c.send(sending, p)
		answered <- outcome{reply, err}
	}()
	select {
	case answer := <-answered:
		return answer.reply, answer.err
	case <-ctx.Done():
	}
	patience := time.NewTimer(stopTimeout)
	defer patience.Stop()
	select {
	case answer := <-answered:
		if answer.err == nil && answer.reply.Message.State.IsRunning() {
			c.stopDetached(ctx, p.ID, answer.reply.Message.ID)
		}
	case <-patience.C:
	}
	return nil, ctx.Err()
}

// stopDetached stops a reply also when the context has ended.
func (c *Chats) stopDetached(ctx context.Context, id, messageID string) error {
	stopping, cancel := context.WithTimeout(detached{ctx}, stopTimeout)
	defer cancel()
	_, err := c.Stop(stopping, id, messageID)
	return err
}

// Next waits for the next delta. It returns false after the last one and after an error.
func (s *Stream) Next() bool {
	if s.isOver {
		return false
	}
	if s.failure != nil {
		return s.fail(s.failure)
	}
	if !s.message.State.IsRunning() {
		// The server knew the prompt by its key, and its reply has ended.
		return s.finish(s.message)
	}
	for {
		next, err := s.subscription.next()
		if err != nil {
			if s.ctx.Err() != nil {
				s.stop()
			}
			return s.fail(err)
		}
		switch {
		case next.name == "reset":
			s.text.restart()
			message, err := s.ended()
			if err != nil {
				return s.fail(err)
			}
			if message != nil {
				return s.finish(*message)
			}
		case next.name == "message" && next.data != nil:
			frame, err := next.frame()
			if err != nil {
				return s.fail(err)
			}
			if frame.Message.ID != s.messageID {
				continue
			}
			if !frame.Partial {
				return s.finish(frame.Message)
			}
			if text := s.text.add(frame.Message.Reply); text != "" {
				s.message.Reply, s.message.State = s.text.String(), frame.Message.State
				s.delta = Delta{Text: text, Message: s.message}
				return true
			}
		}
	}
}

// ended returns the message if it has ended: after a reset the server sends the newest messages alone.
func (s *Stream) ended() (*Message, error) {
	messages := s.chats.MessagesAll(s.ctx, s.subscription.chatID)
	for messages.Next() {
		message := messages.Value()
		if message.ID == s.messageID {
			if message.State.IsRunning() {
				return nil, nil
			}
			return &message, nil
		}
		if message.CreatedAt.Before(s.message.CreatedAt.Add(-time.Hour)) {
			break
		}
	}
	return nil, messages.Err()
}

// finish takes the whole message: its text that is new is the last delta, or comes before the error of a failed reply.
func (s *Stream) finish(message Message) bool {
	s.end()
	text := s.text.finish(message.Reply)
	if message.State == StateFailed {
		s.failure = replyError(message)
		if text == "" {
			return s.fail(s.failure)
		}
		s.delta = Delta{Text: text, Message: message}
		return true
	}
	s.delta = Delta{Text: text, Message: message, Done: true}
	s.isOver = true
	return true
}

// replyError is the error of a message whose reply has failed. The upstream's own status is not part of a message.
func replyError(message Message) *Error {
	failure := &Error{Status: http.StatusBadGateway, Code: "upstream_error", Message: "The reply failed."}
	if message.Error != nil {
		failure.Code, failure.Message = message.Error.Code, message.Error.Message
		failure.UpstreamMessage = message.Error.UpstreamMessage
	}
	if failure.Code == "upstream_timeout" {
		failure.Status = http.StatusGatewayTimeout
	}
	return failure
}

func (s *Stream) fail(err error) bool {
	s.isOver, s.err, s.delta = true, err, Delta{}
	s.end()
	return false
}

// Delta returns the delta that the last call of Next has waited for.
func (s *Stream) Delta() Delta { return s.delta }

// Err returns the error that ended the stream, or nil. A failed reply is an *Error, and so is a lost connection after
// ten attempts in vain; the reply then goes on at the server. When the context has ended it is the context's error.
func (s *Stream) Err() error { return s.err }

// Close ends the stream, and stops the reply unless it has ended. It waits until the reply is stopped; the error is
// that of the attempt to do so.
func (s *Stream) Close() error {
	select {
	case <-s.over:
	default:
		s.stop()
	}
	s.isOver = true
	s.end()
	s.subscription.close()
	// The goroutine of the context may be at it.
	s.stopOnce.Do(func() {})
	return s.stopErr
}

// end notes that the reply has ended, or is left alone.
func (s *Stream) end() { s.endOnce.Do(func() { close(s.over) }) }

func (s *Stream) stop() {
	s.stopOnce.Do(func() {
		err := s.chats.stopDetached(s.ctx, s.subscription.chatID, s.messageID)
		var known *Error
		if errors.As(err, &known) && known.Status == http.StatusNotFound {
			// The chat is gone, and its replies with it.
			err = nil
		}
		s.stopErr = err
	})
}

// stopWithContext stops the reply when the context ends, also while nobody calls Next.
func (s *Stream) stopWithContext() {
	select {
	case <-s.ctx.Done():
		select {
		case <-s.over:
		default:
			s.stop()
		}
	case <-s.over:
	}
}
