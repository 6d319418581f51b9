package proxygpt

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Codes of errors that the client makes itself. All other codes come from the server.
const (
	// CodeConnection stands for a server that could not be reached, or a connection that broke. The status is 0.
	CodeConnection = "connection"
	// CodeTimeout stands for a call that took longer than the client's timeout. The status is 0.
	CodeTimeout = "timeout"
	// CodeUnexpectedAnswer stands for an answer that is not one of the API, for example the page of a proxy.
	CodeUnexpectedAnswer = "unexpected_answer"
	// CodeInvalidAddress stands for a base address that cannot be used. The status is 0.
	CodeInvalidAddress = "invalid_address"
)

// Error is every error of this package but those of a context. Use errors.As to get one.
type Error struct {
	// Status is the HTTP status, or 0 where there was no answer.
	Status int
	// Code names the error for programs, for example "not_found".
	Code string
	// Param is the parameter that the error concerns, or "".
	Param string
	// Message is a sentence for a person.
	Message string
	// RequestID finds the request in the server's log; it may be "".
	RequestID string
	// RetryAfter is the number of seconds after which another try makes sense, or nil.
	RetryAfter *int
	// UpstreamMessage is what the model's server said, or "".
	UpstreamMessage string

	cause error
}

// Error returns the message with its status, code and request id.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString("proxygpt: ")
	if e.Status != 0 {
		fmt.Fprintf(&text, "%d ", e.Status)
	}
	text.WriteString(e.Code + ": " + e.Message)
	if e.UpstreamMessage != "" {
		text.WriteString(" (upstream: " + e.UpstreamMessage + ")")
	}
	if e.RequestID != "" {
		text.WriteString(" (request " + e.RequestID + ")")
	}
	return text.String()
}

// Unwrap returns the cause of a connection's failure.
func (e *Error) Unwrap() error { return e.cause }

// connectionError wraps what net/http or the network says. An address is left out: the caller knows it.
func connectionError(cause error) *Error {
	reason := cause
	var inner *url.Error
	if errors.As(cause, &inner) {
		reason = inner.Err
	}
	return &Error{
		Code: CodeConnection, Message: "The connection to the server failed: " + reason.Error(), cause: cause,
	}
}

// errorBody is the shape of the server's errors.
type errorBody struct {
	Error *struct {
		Message         string `json:"message"`
		Param           string `json:"param"`
		Code            string `json:"code"`
		UpstreamMessage string `json:"upstream_message"`
	} `json:"error"`
}

// answerError makes an error of an answer whose status is no success.
func answerError(response *http.Response, body []byte, now time.Time) *Error {
	answer := &Error{
		Status:     response.StatusCode,
		Code:       CodeUnexpectedAnswer,
		Message:    fmt.Sprintf("The server answered with status %d.", response.StatusCode),
		RequestID:  response.Header.Get("X-Request-Id"),
		RetryAfter: retryAfter(response.Header.Get("Retry-After"), now),
	}
	var parsed errorBody
	if json.Unmarshal(body, &parsed) != nil || parsed.Error == nil || parsed.Error.Code == "" {
		return answer
	}
	answer.Message = parsed.Error.Message
	answer.Code = parsed.Error.Code
	answer.Param = parsed.Error.Param
	answer.UpstreamMessage = parsed.Error.UpstreamMessage
	return answer
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(header string, now time.Time) *int {
	header = strings.TrimSpace(header)
	if header == "" {
		return nil
	}
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		value := int(seconds)
		return &value
	}
	moment, err := http.ParseTime(header)
	if err != nil {
		return nil
	}
	left := moment.Sub(now)
	if left < 0 {
		left = 0
	}
	value := int((left + time.Second - 1) / time.Second)
	return &value
}

// longestRetryAfter is the longest wait that the server may ask for before the client gives up instead.
const longestRetryAfter = 60

// isRetryable says whether a read, or a prompt with its key, is sent again after this error.
func (e *Error) isRetryable() bool {
	if e.RetryAfter != nil && *e.RetryAfter > longestRetryAfter {
		return false
	}
	switch e.Status {
	case 0:
		return e.Code == CodeConnection
	case http.StatusTooManyRequests:
		return e.RetryAfter != nil
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// Retry-After tells the front's own 502, while a process restarts, from that of a model's server.
		return e.Code == CodeUnexpectedAnswer || e.Code == "unavailable" || e.RetryAfter != nil
	default:
		return false
	}
}
