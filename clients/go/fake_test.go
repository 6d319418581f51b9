package proxygpt

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// received is a request as the fake server got it.
type received struct {
	path   string
	header http.Header
	query  string
	fields map[string]any
}

// fakeServer answers as its handlers say, and keeps what it was asked.
type fakeServer struct {
	*httptest.Server
	mutex    sync.Mutex
	requests []received
	waits    []time.Duration
}

// newFake starts a server, and a client of it whose waits end at once.
func newFake(t *testing.T, handlers map[string]http.HandlerFunc, options ...Option) (*Client, *fakeServer) {
	t.Helper()
	fake := &fakeServer{}
	fake.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fields := map[string]any{}
		if len(body) > 0 {
			if err := json.Unmarshal(body, &fields); err != nil {
				t.Errorf("the body of %s is not JSON: %v", r.URL.Path, err)
			}
		}
		fake.mutex.Lock()
		fake.requests = append(fake.requests, received{r.URL.Path, r.Header.Clone(), r.URL.RawQuery, fields})
		fake.mutex.Unlock()
		handler, isKnown := handlers[r.URL.Path]
		if !isKnown {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"error":{"message":"There is nothing at %s.","code":"not_found","param":null}}`, r.URL.Path)
			return
		}
		handler(w, r)
	}))
	t.Cleanup(fake.stop)
	client := New(fake.URL, append([]Option{WithToken("pgpt_secret")}, options...)...)
	client.sleep = func(ctx context.Context, duration time.Duration) error {
		fake.mutex.Lock()
		defer fake.mutex.Unlock()
		fake.waits = append(fake.waits, duration)
		return ctx.Err()
	}
	return client, fake
}

// stop closes the server with all its connections, also those of streams that a failed test has left.
func (f *fakeServer) stop() {
	f.CloseClientConnections()
	f.Close()
}

// of returns the requests of a path.
func (f *fakeServer) of(path string) []received {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var found []received
	for _, request := range f.requests {
		if request.path == path {
			found = append(found, request)
		}
	}
	return found
}

func (f *fakeServer) allWaits() []time.Duration {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]time.Duration{}, f.waits...)
}

// answer is a handler with a constant answer.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for index := 0; index+1 < len(headers); index += 2 {
			w.Header().Set(headers[index], headers[index+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// inTurn is a handler whose answers come one after the other; the last one stays.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mutex sync.Mutex
	count := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		handler := handlers[count]
		if count+1 < len(handlers) {
			count++
		}
		mutex.Unlock()
		handler(w, r)
	}
}

const refusal = `{"error":{"message":"No.","type":"t","code":%q,"param":%q}}`

// The message whose reply the tests stream, and a piece of its life.
const (
	chatID    = "019a0000-0000-7000-8000-00000000000c"
	messageID = "019a0000-0000-7000-8000-000000000001"
)

// message is the JSON of the message.
func message(state, reply string, more ...string) string {
	return fmt.Sprintf(
		`{"id":%q,"chat_id":%q,"user_id":"u","username":null,"group_id":null,"prompt":"Hello","reply":%s,"model":"m",`+
			`"otr":false,"state":%q,"error":%s,"usage":null,"created_at":"2026-11-30T12:00:00.000Z",`+
			`"updated_at":"2026-11-30T12:00:01.000Z"}`,
		messageID, chatID, quoted(reply), state, strings.Join(append(more, "null")[:1], ""))
}

func quoted(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}

// sse is the text of one event.
func sse(id, name, data string) string {
	text := ""
	if name != "" {
		text = "event: " + name + "\n"
	}
	text += "id: " + id + "\n"
	if data != "" {
		text += "data: " + data + "\n"
	}
	return text + "\n"
}

func partial(id, text string) string {
	return sse(id, "", fmt.Sprintf(
		`{"message":{"id":%q,"chat_id":%q,"user_id":"u","reply":%s,"state":"streaming"},"partial":true}`,
		messageID, chatID, quoted(text)))
}

func final(id, message string) string {
	return sse(id, "", `{"message":`+message+`,"partial":false}`)
}

// ending says how the server ends a connection.
type ending int

const (
	cleanly ending = iota
	abruptly
	byReset
	never
)

// stream is a handler that sends a text and ends the connection.
func stream(text string, how ending) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, text)
		w.(http.Flusher).Flush()
		switch how {
		case cleanly:
		case abruptly:
			panic(http.ErrAbortHandler)
		case byReset:
			connection, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				connection.(*net.TCPConn).SetLinger(0)
				connection.Close()
			}
		case never:
			<-r.Context().Done()
		}
	}
}

// collect reads a stream to its end.
func collect(s *Stream) (deltas []Delta, joined string) {
	for s.Next() {
		deltas = append(deltas, s.Delta())
		joined += s.Delta().Text
	}
	return deltas, joined
}

func check(t *testing.T, isRight bool, format string, arguments ...any) {
	t.Helper()
	if !isRight {
		t.Errorf(format, arguments...)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
