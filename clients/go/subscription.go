package proxygpt

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Limits of reconnections.
const (
	// attemptLimit is the number of connections in a row that bring nothing before a stream is given up.
	attemptLimit = 10
	// longestRetry bounds the time that the server may name for a reconnection.
	longestRetry = 10 * time.Second
	// errorBodyLimit bounds what is read of an answer that is no stream.
	errorBodyLimit = 1 << 20
)

// errClosed says that the server ended a stream.
var errClosed = errors.New("the server ended the stream")

// errSilent says that nothing came on a stream for too long.
var errSilent = errors.New("the server was silent for too long")

// subscription reads the events of a chat's stream, over as many connections as that takes.
//
// It belongs to one goroutine at a time. A new connection begins after the last event that was handed out, so that no
// event is lost or repeated; where the server cannot do that it says so by an event "reset".
type subscription struct {
	client *Client
	ctx    context.Context
	chatID string

	// lastID is the id of the last event that was handed out.
	lastID string
	// hasBegun says that an event has come: from there on a cut stream is resumed.
	hasBegun bool
	// attempts counts the failures since the stream brought something.
	attempts int
	retry    time.Duration

	body   io.ReadCloser
	parser *eventParser
	// watchdog ends a connection that is silent.
	watchdog *time.Timer
	cancel   context.CancelFunc
	isSilent atomic.Bool
	buffer   [16 << 10]byte
}

// next returns the next event. One without data moves the place to resume from and says nothing else. It returns an
// error when the server refuses the stream, when it brings nothing for too long, and when the context has ended.
func (s *subscription) next() (event, error) {
	if err := s.await(); err != nil {
		return event{}, err
	}
	next := s.parser.events[0]
	s.parser.events = s.parser.events[1:]
	s.lastID = next.id
	return next, nil
}

// await waits until there is an event. With the first one the subscription stands: it has a place to resume from, so
// that every later frame of the chat arrives.
func (s *subscription) await() error {
	for s.parser == nil || len(s.parser.events) == 0 {
		err := s.advance()
		if err == nil {
			continue
		}
		s.close()
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if err := s.pause(asError(err)); err != nil {
			return err
		}
	}
	s.hasBegun = true
	return nil
}

// advance connects, or reads a piece.
func (s *subscription) advance() error {
	if s.body == nil {
		return s.connect()
	}
	s.watchdog.Reset(s.client.silence)
	count, err := s.body.Read(s.buffer[:])
	if count > 0 {
		comments := s.parser.comments
		if err := s.parser.feed(s.buffer[:count]); err != nil {
			return connectionError(err)
		}
		if s.parser.comments > comments || s.bringsNewID() {
			s.attempts = 0
		}
		if s.parser.retry > 0 {
			s.retry = s.parser.retry
		}
		return nil
	}
	if err == nil {
		return nil
	}
	return s.cause(err)
}

// bringsNewID says whether the events that were read lead beyond the place of the last one that was handed out.
func (s *subscription) bringsNewID() bool {
	for _, event := range s.parser.events {
		if event.id != s.lastID {
			return true
		}
	}
	return false
}

func (s *subscription) connect() error {
	ctx, cancel := context.WithCancel(s.ctx)
	s.cancel = cancel
	s.isSilent.Store(false)
	s.watchdog = time.AfterFunc(s.client.silence, func() {
		s.isSilent.Store(true)
		cancel()
	})
	httpRequest, err := s.client.httpRequest(ctx, request{path: "/chat/stream", body: map[string]string{"id": s.chatID}})
	if err != nil {
		return err
	}
	httpRequest.Header.Set("Accept", "text/event-stream")
	if s.lastID != "" {
		httpRequest.Header.Set("Last-Event-ID", s.lastID)
	}
	response, err := s.client.http.Do(httpRequest)
	if err != nil {
		return s.cause(err)
	}
	s.body = response.Body
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(response.Body, errorBodyLimit))
		if err != nil {
			return s.cause(err)
		}
		return answerError(response, body, time.Now())
	}
	kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
		return unexpectedAnswer(response, "The server did not answer with a stream of events.")
	}
	s.parser = &eventParser{id: s.lastID}
	return nil
}

// cause is the reason for the end of a connection.
func (s *subscription) cause(err error) error {
	switch {
	case s.isSilent.Load():
		return connectionError(errSilent)
	case err == io.EOF:
		return connectionError(errClosed)
	default:
		return connectionError(err)
	}
}

// pause waits for the time of the next attempt. It returns the error where there is none.
func (s *subscription) pause(err *Error) error {
	limit := attemptLimit
	if !s.hasBegun {
		limit = s.client.maxRetries
	}
	if s.attempts >= limit || !err.isRetryable() {
		return err
	}
	s.attempts++
	delay := s.retry
	if delay > longestRetry {
		delay = longestRetry
	}
	if growing := backoff(s.attempts - 1); s.attempts > 1 && delay < growing || delay == 0 {
		delay = growing
	}
	if err.RetryAfter != nil {
		delay = time.Duration(*err.RetryAfter) * time.Second
	}
	return s.client.sleep(s.ctx, delay)
}

// close ends the connection; the next call of next makes another.
func (s *subscription) close() {
	if s.watchdog != nil {
		s.watchdog.Stop()
	}
	if s.cancel != nil {
		s.cancel()
	}
	if s.body != nil {
		s.body.Close()
	}
	s.watchdog, s.cancel, s.body, s.parser = nil, nil, nil, nil
}

// frame is what an event of a chat's stream holds.
type frame struct {
	Message Message `json:"message"`
	Partial bool    `json:"partial"`
}

// frame decodes the data of an event.
func (e event) frame() (frame, error) {
	var decoded frame
	if err := json.Unmarshal(e.data, &decoded); err != nil || decoded.Message.ID == "" {
		return frame{}, &Error{
			Status: http.StatusOK, Code: CodeUnexpectedAnswer, Message: "A frame of the stream is not one of the API.",
		}
	}
	return decoded, nil
}
