package proxygpt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Limits of what is read, and of waits between attempts.
const (
	answerLimit    = 64 << 20
	firstBackoff   = 500 * time.Millisecond
	longestBackoff = 8 * time.Second
)

// request is one call of the API, however often it is sent.
type request struct {
	path string
	// query makes the request a read: GET.
	query url.Values
	// body is what is sent as JSON otherwise.
	body any
	// key is the Idempotency-Key; with one the request may be sent again.
	key string
	// isAnonymous leaves the token out.
	isAnonymous bool
}

func (r request) isRepeatable() bool { return r.body == nil || r.key != "" }

// call sends a request, again where that is safe, and decodes the answer into result unless that is nil.
func (c *Client) call(ctx context.Context, r request, result any) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	deadline, _ := limited.Deadline()
	for attempt := 0; ; attempt++ {
		err := c.attempt(limited, r, result)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if limited.Err() != nil {
			message := fmt.Sprintf("The server gave no answer in %v.", c.timeout)
			return &Error{Code: CodeTimeout, Message: message, cause: err}
		}
		known := asError(err)
		if attempt >= c.maxRetries || !r.isRepeatable() || !known.isRetryable() {
			return known
		}
		delay := retryDelay(known, attempt)
		if time.Now().Add(delay).After(deadline) {
			return known
		}
		if err := c.sleep(ctx, delay); err != nil {
			return err
		}
	}
}

// retryDelay is the time before attempt number `attempt` + 1 is repeated.
func retryDelay(err *Error, attempt int) time.Duration {
	if err.RetryAfter != nil {
		return time.Duration(*err.RetryAfter) * time.Second
	}
	return backoff(attempt)
}

// backoff doubles with each attempt, with jitter so that clients do not come back all at once.
func backoff(attempt int) time.Duration {
	delay := longestBackoff
	if attempt < 4 {
		delay = firstBackoff << attempt
	}
	// The generator of math/rand has the same seed in every process.
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return delay
	}
	return delay/2 + time.Duration(binary.LittleEndian.Uint64(random[:])%uint64(delay/2+1))
}

// attempt sends a request once.
func (c *Client) attempt(ctx context.Context, r request, result any) error {
	httpRequest, err := c.httpRequest(ctx, r)
	if err != nil {
		return err
	}
	response, err := c.http.Do(httpRequest)
	if err != nil {
		return connectionError(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit+1))
	if err != nil {
		return connectionError(err)
	}
	if response.StatusCode != http.StatusOK {
		return answerError(response, body, time.Now())
	}
	if len(body) > answerLimit {
		return unexpectedAnswer(response, "The server's answer is too long.")
	}
	if result == nil {
		result = &struct{}{}
	}
	if err := json.Unmarshal(body, result); err != nil {
		return unexpectedAnswer(response, "The server's answer is not one of the API.")
	}
	return nil
}

func unexpectedAnswer(response *http.Response, message string) *Error {
	return &Error{
		Status: response.StatusCode, Code: CodeUnexpectedAnswer, Message: message,
		RequestID: response.Header.Get("X-Request-Id"),
	}
}

func (c *Client) httpRequest(ctx context.Context, r request) (*http.Request, error) {
	if c.baseError != nil {
		return nil, c.baseError
	}
	method, address := http.MethodGet, c.base+r.path
	var content io.Reader
	if r.body != nil {
		method = http.MethodPost
		encoded, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(encoded)
	} else if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	httpRequest, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		httpRequest.Header.Set("Content-Type", "application/json")
	}
	httpRequest.Header.Set("Accept", "application/json")
	if r.key != "" {
		httpRequest.Header.Set("Idempotency-Key", r.key)
	}
	if token := c.Token(); token != "" && !r.isAnonymous {
		httpRequest.Header.Set("Authorization", "Bearer "+token)
	}
	return httpRequest, nil
}

// newKey makes an Idempotency-Key.
func newKey() (string, error) {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("proxygpt: no randomness for an Idempotency-Key: %w", err)
	}
	return hex.EncodeToString(random), nil
}

// values makes the query of a read; empty values are left out.
func (p Page) values(fields map[string]string) url.Values {
	query := url.Values{}
	if p.Limit != 0 {
		query.Set("limit", strconv.Itoa(p.Limit))
	}
	for name, value := range map[string]string{"before": p.Before, "after": p.After} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range fields {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}
