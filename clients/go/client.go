// Package proxygpt is a client of Proxy GPT: users, groups, and chats with a model.
//
//	c := proxygpt.New("https://api.example.org", proxygpt.WithToken(token))
//	s, err := c.Chats.Stream(ctx, chatID, "Hello")
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	for s.Next() {
//		fmt.Print(s.Delta().Text)
//	}
//	return s.Err()
//
// Errors are of the type *Error, unless the context of a call has ended: then the error is the context's. Reads and
// prompts are sent again where that is safe; everything else is sent once.
package proxygpt

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Defaults of the options.
const (
	// DefaultTimeout is the time for a call that is not a stream.
	DefaultTimeout = 600 * time.Second
	// DefaultMaxRetries is how often a read or a prompt is sent again.
	DefaultMaxRetries = 2

	// silenceLimit is the time without a byte after which a stream is taken for broken. The server sends a comment
	// every 15 seconds.
	silenceLimit = 60 * time.Second
	// stopTimeout is the time for the call that stops a reply whose stream was given up.
	stopTimeout = 10 * time.Second
)

// Client calls one server. It is safe for use by several goroutines.
type Client struct {
	// Users has the calls about users and sessions.
	Users *Users
	// Chats has the calls about chats, prompts and streams.
	Chats *Chats
	// Groups has the calls about groups.
	Groups *Groups

	base       string
	baseError  error
	http       *http.Client
	timeout    time.Duration
	maxRetries int
	silence    time.Duration
	sleep      func(context.Context, time.Duration) error

	mutex sync.RWMutex
	token string
}

// Option changes how a client works.
type Option func(*Client)

// WithToken sets the token of a session. Users.SignUp and Users.LogIn replace it.
func WithToken(token string) Option { return func(c *Client) { c.token = token } }

// WithTimeout sets the time for a call that is not a stream.
func WithTimeout(timeout time.Duration) Option { return func(c *Client) { c.timeout = timeout } }

// WithMaxRetries sets how often a read or a prompt is sent again.
func WithMaxRetries(count int) Option { return func(c *Client) { c.maxRetries = count } }

// WithHTTPClient sets the client of net/http to use, for a proxy or certificates of one's own. Its timeout is not used,
// and it follows no redirects.
func WithHTTPClient(client *http.Client) Option {
	return func(c *Client) {
		own := *client
		c.http = &own
	}
}

// New returns a client of the server at an address such as "https://api.example.org", which may have a path. An
// address that cannot be used is the error of every call.
func New(address string, options ...Option) *Client {
	c := &Client{
		http:       &http.Client{},
		timeout:    DefaultTimeout,
		maxRetries: DefaultMaxRetries,
		silence:    silenceLimit,
		sleep:      sleep,
	}
	for _, option := range options {
		option(c)
	}
	c.http.Timeout = 0
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.base, c.baseError = baseAddress(address)
	c.Users, c.Chats, c.Groups = &Users{c}, &Chats{c}, &Groups{c}
	return c
}

// Token returns the token that the client uses, or "".
func (c *Client) Token() string {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	return c.token
}

func (c *Client) setToken(token string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.token = token
}

// forgetToken drops the token, unless the client has another one by now.
func (c *Client) forgetToken(token string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.token == token {
		c.token = ""
	}
}

// OpenAI returns what OpenAI's own client needs: the address of the server's /v1 and the token.
func (c *Client) OpenAI() OpenAI { return OpenAI{BaseURL: c.base + "/v1", APIKey: c.Token()} }

// baseAddress checks an address and returns it without a slash at its end. An error does not quote the address, which
// may hold a secret.
func baseAddress(address string) (string, error) {
	parsed, err := url.Parse(strings.TrimSpace(address))
	problem := ""
	switch {
	case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "":
		problem = "The server's address must be that of an HTTP server, such as https://api.example.org."
	case parsed.User != nil:
		problem = "The server's address must not hold a user name or a token: use WithToken."
	case parsed.RawQuery != "" || parsed.Fragment != "":
		problem = "The server's address must have no query and no fragment."
	default:
		return strings.TrimRight(parsed.String(), "/"), nil
	}
	return "", &Error{Code: CodeInvalidAddress, Message: problem}
}

// sleep waits, unless the context ends before.
func sleep(ctx context.Context, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// detached is a context with the values of another one, which does not end with it.
type detached struct{ context.Context }

func (detached) Deadline() (time.Time, bool) { return time.Time{}, false }
func (detached) Done() <-chan struct{}       { return nil }
func (detached) Err() error                  { return nil }

// asError returns the error as one of this package.
func asError(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	return connectionError(err)
}
