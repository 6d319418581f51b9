package proxygpt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const whole = "echo: Grüße 😀 and \"more\"\nwords"

// transcript is a stream from its first byte to the final frame, and what a server sends after each of its ids.
func transcript() (text string, after map[string]string) {
	events := []string{
		sse("e:1", "", ""), partial("e:2", "echo: "), partial("e:3", "Grüße "), partial("e:4", "😀 and "),
		partial("e:5", "\"more\"\n"), partial("e:6", "words"), final("e:7", message("done", whole)),
	}
	after = map[string]string{"": "retry: 1000\n\n" + strings.Join(events, "")}
	for index := range events {
		after[fmt.Sprintf("e:%d", index+1)] = strings.Join(events[index+1:], "")
	}
	return after[""], after
}

// prompted answers a prompt as a server does that streams the reply.
func prompted() http.HandlerFunc {
	return answer(200, `{"message":`+message("streaming", "")+`,"reply":""}`)
}

func TestAStreamThatIsCutAtAnyByteLosesAndRepeatsNoWord(t *testing.T) {
	text, after := transcript()
	for name, how := range map[string]ending{"cleanly": cleanly, "abruptly": abruptly, "by reset": byReset} {
		t.Run(name, func(t *testing.T) {
			for cut := 0; cut <= len(text); cut++ {
				rest := func(w http.ResponseWriter, r *http.Request) {
					stream("retry: 1000\n\n"+after[r.Header.Get("Last-Event-ID")], cleanly)(w, r)
				}
				client, fake := newFake(t, map[string]http.HandlerFunc{
					"/chat/stream": inTurn(stream(text[:cut], how), rest), "/chat/prompt": prompted(),
				})
				s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
				must(t, err)
				deltas, joined := collect(s)
				must(t, s.Err())
				must(t, s.Close())
				if joined != whole || len(deltas) == 0 {
					t.Fatalf("cut at %d of %d: %q", cut, len(text), joined)
				}
				last := deltas[len(deltas)-1]
				check(t, last.Done && last.Message.State == StateDone && last.Message.Reply == whole,
					"cut at %d: the last delta is %+v", cut, last)
				check(t, len(fake.of("/chat/prompt")) == 1, "cut at %d: prompted more than once", cut)
				check(t, len(fake.of("/chat/stop")) == 0, "cut at %d: a reply that ended was stopped", cut)
				fake.stop()
			}
		})
	}
}

func TestAStreamThatStartsOverLosesAndRepeatsNoWord(t *testing.T) {
	text, _ := transcript()
	earlier := strings.Replace(message("done", "earlier"), messageID, strings.Replace(messageID, "1", "2", 1), 1)
	tests := map[string]struct{ from, rest, stored string }{
		"the reply runs": {
			from: "id: e:2",
			rest: partial("reset:0", "echo: Gr") + partial("reset:0", "üße 😀 and \"more\"") + partial("f:1", "\nwor") +
				partial("f:2", "ds") + final("f:3", message("done", whole)),
			stored: message("streaming", ""),
		},
		"the reply has ended": {
			from: "id: e:2",
			rest: final("reset:0", earlier) + final("f:1", message("done", whole)), stored: message("streaming", ""),
		},
		"the reply has ended and is too old to be sent": {
			from: "id: e:2",
			rest: final("f:1", earlier), stored: message("done", whole),
		},
		"the deltas go on in the middle": {
			from: "id: e:3",
			rest: partial("f:1", "words") + final("f:2", message("done", whole)), stored: message("streaming", ""),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			// Every place would take long; each event is cut at several.
			for cut := strings.Index(text, test.from); cut < len(text); cut += 13 {
				over := stream("retry: 1000\n\n"+sse("reset:0", "reset", `{"reset":true}`)+test.rest, never)
				client, fake := newFake(t, map[string]http.HandlerFunc{
					"/chat/stream": inTurn(stream(text[:cut], abruptly), over), "/chat/prompt": prompted(),
					"/chat/read": answer(200, `{"chat":{},"users":[],"messages":[`+test.stored+`],"has_more":false}`),
				})
				s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
				must(t, err)
				_, joined := collect(s)
				must(t, s.Err())
				if joined != whole {
					t.Fatalf("cut at %d: %q", cut, joined)
				}
				must(t, s.Close())
				fake.stop()
			}
		})
	}
}

func TestAStreamSubscribesBeforeItPrompts(t *testing.T) {
	text, _ := transcript()
	client, fake := newFake(t, map[string]http.HandlerFunc{
		"/chat/stream": stream(text, never), "/chat/prompt": prompted(),
	})
	s, err := client.Chats.Stream(context.Background(), chatID, "Hello", WithContextMessages(3))
	must(t, err)
	collect(s)
	must(t, s.Err())
	check(t, fake.requests[0].path == "/chat/stream" && fake.requests[1].path == "/chat/prompt",
		"the order is %v", fake.requests)
	prompt := fake.of("/chat/prompt")[0]
	check(t, prompt.fields["stream"] == true && prompt.fields["context"] == 3.0, "the prompt is %v", prompt.fields)
	check(t, len(prompt.header.Get("Idempotency-Key")) >= 16, "the key is %q", prompt.header.Get("Idempotency-Key"))
	for _, request := range fake.requests {
		check(t, request.header.Get("Authorization") == "Bearer pgpt_secret", "%s has no token", request.path)
		check(t, request.query == "", "%s has the query %q", request.path, request.query)
	}
}

func TestFramesThatAreNotOfTheReplyAreLeftOut(t *testing.T) {
	other := strings.ReplaceAll(partial("e:2", "of another")+final("e:3", message("done", "of another")), messageID, "other")
	text := sse("e:1", "", "") + other + sse("e:3", "news", "x") + ": keep-alive\nid: e:4\n\n" +
		partial("e:5", "mine") + final("e:6", message("done", "mine")) + final("e:6", message("done", "mine"))
	client, _ := newFake(t, map[string]http.HandlerFunc{"/chat/stream": stream(text, never), "/chat/prompt": prompted()})
	s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
	must(t, err)
	deltas, joined := collect(s)
	must(t, s.Err())
	check(t, joined == "mine" && len(deltas) == 2, "the deltas are %+v", deltas)
	check(t, !s.Next(), "the repeated final frame is a delta")
}

func TestTheEndOfAReply(t *testing.T) {
	tests := map[string]struct {
		frames string
		joined string
		state  State
		want   Error
	}{
		"done":    {frames: final("e:3", message("done", "one two")), joined: "one two", state: StateDone},
		"stopped": {frames: final("e:3", message("stopped", "one")), joined: "one", state: StateStopped},
		"failed after more text": {
			frames: final("e:3", message("failed", "one two",
				`{"code":"upstream_error","message":"Broken off.","upstream_message":"overloaded"}`)),
			joined: "one two",
			want:   Error{Status: 502, Code: "upstream_error", Message: "Broken off.", UpstreamMessage: "overloaded"},
		},
		"failed in time": {
			frames: final("e:3", message("failed", "one", `{"code":"upstream_timeout","message":"Too late."}`)),
			joined: "one", want: Error{Status: 504, Code: "upstream_timeout", Message: "Too late."},
		},
		"a frame that is no JSON": {
			frames: sse("e:3", "", "{"), joined: "one", want: Error{Status: 200, Code: CodeUnexpectedAnswer},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text := sse("e:1", "", "") + partial("e:2", "one") + test.frames
			client, fake := newFake(t, map[string]http.HandlerFunc{
				"/chat/stream": stream(text, never), "/chat/prompt": prompted(),
			})
			s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
			must(t, err)
			deltas, joined := collect(s)
			check(t, joined == test.joined, "the text is %q", joined)
			if test.want.Code == "" {
				must(t, s.Err())
				last := deltas[len(deltas)-1]
				check(t, last.Done && last.Message.State == test.state, "the last delta is %+v", last)
			} else {
				var failure *Error
				if !errors.As(s.Err(), &failure) {
					t.Fatalf("the error is %v", s.Err())
				}
				check(t, failure.Status == test.want.Status && failure.Code == test.want.Code &&
					(test.want.Message == "" || failure.Message == test.want.Message) &&
					failure.UpstreamMessage == test.want.UpstreamMessage, "the error is %+v", failure)
				for _, delta := range deltas {
					check(t, !delta.Done, "a failed reply is done: %+v", delta)
				}
			}
			must(t, s.Close())
			check(t, len(fake.of("/chat/stop")) == 0, "a reply that ended was stopped")
		})
	}
}

func TestAPromptThatTheServerKnowsEndsTheStream(t *testing.T) {
	client, _ := newFake(t, map[string]http.HandlerFunc{
		"/chat/stream": stream(sse("e:1", "", ""), never),
		"/chat/prompt": answer(200, `{"message":`+message("done", "known")+`,"reply":"known"}`),
	})
	s, err := client.Chats.Stream(context.Background(), chatID, "Hello", WithIdempotencyKey("mine"))
	must(t, err)
	_, joined := collect(s)
	must(t, s.Err())
	check(t, joined == "known", "the text is %q", joined)
}

func TestASilentStreamIsReplaced(t *testing.T) {
	text, after := transcript()
	start := text[:strings.Index(text, "id: e:3")]
	tests := map[string]http.HandlerFunc{
		"in mid-reply":    stream(start, never),
		"before its head": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
	for name, silent := range tests {
		t.Run(name, func(t *testing.T) {
			client, fake := newFake(t, map[string]http.HandlerFunc{
				"/chat/stream": inTurn(silent, func(w http.ResponseWriter, r *http.Request) {
					stream(after[r.Header.Get("Last-Event-ID")], never)(w, r)
				}),
				"/chat/prompt": prompted(),
			})
			client.silence = time.Second
			s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
			must(t, err)
			_, joined := collect(s)
			must(t, s.Err())
			check(t, joined == whole, "the text is %q", joined)
			check(t, len(fake.of("/chat/stream")) >= 2, "%d connections", len(fake.of("/chat/stream")))
		})
	}
}

func TestTheTimesOfReconnections(t *testing.T) {
	text, after := transcript()
	cut := strings.Index(text, "id: e:3")
	tests := map[string]struct {
		retry string
		wait  time.Duration
	}{
		"as the server says":  {"retry: 1234\n\n", 1234 * time.Millisecond},
		"ten seconds at most": {"retry: 30000\n\n", 10 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client, fake := newFake(t, map[string]http.HandlerFunc{
				"/chat/stream": inTurn(
					stream(text[:cut]+test.retry, cleanly),
					answer(503, fmt.Sprintf(refusal, "unavailable", ""), "Retry-After", "7"), stream(after["e:2"], never)),
				"/chat/prompt": prompted(),
			})
			s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
			must(t, err)
			_, joined := collect(s)
			must(t, s.Err())
			check(t, joined == whole, "the text is %q", joined)
			waits := fake.allWaits()
			check(t, len(waits) == 2 && waits[0] == test.wait && waits[1] == 7*time.Second, "the waits are %v", waits)
			streams := fake.of("/chat/stream")
			check(t, streams[1].header.Get("Last-Event-ID") == "e:2", "resumed after %q", streams[1].header)
		})
	}
}

func TestAStreamThatBringsNothingIsGivenUp(t *testing.T) {
	tests := map[string]struct {
		later       http.HandlerFunc
		connections int
		status      int
		code        string
	}{
		"no connection":  {stream("", byReset), 1 + attemptLimit, 0, CodeConnection},
		"no new id":      {stream("retry: 5\n\n"+sse("e:2", "", ""), cleanly), 1 + attemptLimit, 0, CodeConnection},
		"no stream":      {answer(200, "<html>", "Content-Type", "text/html"), 2, 200, CodeUnexpectedAnswer},
		"a proxy's page": {answer(502, "<html>"), 1 + attemptLimit, 502, CodeUnexpectedAnswer},
		"logged out":     {answer(401, fmt.Sprintf(refusal, "unauthorized", "")), 2, 401, "unauthorized"},
		"a long wait": {
			answer(503, fmt.Sprintf(refusal, "unavailable", ""), "Retry-After", "61"), 2, 503, "unavailable",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			start := sse("e:1", "", "") + partial("e:2", "one")
			client, fake := newFake(t, map[string]http.HandlerFunc{
				"/chat/stream": inTurn(stream(start, cleanly), test.later), "/chat/prompt": prompted(),
			})
			s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
			must(t, err)
			_, joined := collect(s)
			check(t, joined == "one", "the text is %q", joined)
			var failure *Error
			check(t, errors.As(s.Err(), &failure) && failure.Status == test.status && failure.Code == test.code,
				"the error is %v", s.Err())
			check(t, len(fake.of("/chat/stream")) == test.connections, "%d connections", len(fake.of("/chat/stream")))
			must(t, s.Close())
			check(t, len(fake.of("/chat/stop")) == 0, "a lost stream stopped the reply")
		})
	}
}

func TestCommentsKeepAStreamAlive(t *testing.T) {
	ping := stream("retry: 5\n\n: keep-alive\n\n", cleanly)
	handlers := []http.HandlerFunc{stream(sse("e:1", "", ""), cleanly)}
	for count := 0; count < 3*attemptLimit; count++ {
		handlers = append(handlers, ping)
	}
	handlers = append(handlers, stream(final("e:2", message("done", "late")), never))
	client, _ := newFake(t, map[string]http.HandlerFunc{"/chat/stream": inTurn(handlers...), "/chat/prompt": prompted()})
	s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
	must(t, err)
	_, joined := collect(s)
	must(t, s.Err())
	check(t, joined == "late", "the text is %q", joined)
}

func TestAStreamThatDoesNotBeginSendsNoPrompt(t *testing.T) {
	tests := map[string]struct {
		handler     http.HandlerFunc
		connections int
	}{
		"refused":       {answer(404, fmt.Sprintf(refusal, "not_found", "id")), 1},
		"no place":      {stream("retry: 9000\n\n", cleanly), 1 + DefaultMaxRetries},
		"no connection": {stream("", byReset), 1 + DefaultMaxRetries},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client, fake := newFake(t, map[string]http.HandlerFunc{
				"/chat/stream": test.handler, "/chat/prompt": prompted(),
			})
			_, err := client.Chats.Stream(context.Background(), chatID, "Hello")
			var failure *Error
			check(t, errors.As(err, &failure), "the error is %v", err)
			check(t, len(fake.of("/chat/stream")) == test.connections, "%d connections", len(fake.of("/chat/stream")))
			check(t, len(fake.of("/chat/prompt")) == 0, "a prompt was sent")
		})
	}
}

func TestTheEndOfTheContextStopsTheReply(t *testing.T) {
	stopped := answer(200, `{"message":`+message("stopped", "one")+`,"reply":"one"}`)
	start := sse("e:1", "", "") + partial("e:2", "one")
	stops := func(t *testing.T, fake *fakeServer) {
		t.Helper()
		requests := fake.of("/chat/stop")
		check(t, len(requests) == 1 && requests[0].fields["message_id"] == messageID && requests[0].fields["id"] == chatID,
			"the stops are %v", requests)
	}

	t.Run("between two calls of Next", func(t *testing.T) {
		client, fake := newFake(t, map[string]http.HandlerFunc{
			"/chat/stream": stream(start, never), "/chat/prompt": prompted(), "/chat/stop": stopped,
		})
		ctx, cancel := context.WithCancel(context.Background())
		s, err := client.Chats.Stream(ctx, chatID, "Hello")
		must(t, err)
		check(t, s.Next(), "no delta came: %v", s.Err())
		cancel()
		check(t, !s.Next() && errors.Is(s.Err(), context.Canceled), "the error is %v", s.Err())
		must(t, s.Close())
		stops(t, fake)
	})
	t.Run("while Next waits", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		client, fake := newFake(t, map[string]http.HandlerFunc{
			"/chat/stream": func(w http.ResponseWriter, r *http.Request) {
				stream(start, cleanly)(w, r)
				io.WriteString(w, ": wait\n\n")
				w.(http.Flusher).Flush()
				cancel()
				<-r.Context().Done()
			},
			"/chat/prompt": prompted(), "/chat/stop": stopped,
		})
		s, err := client.Chats.Stream(ctx, chatID, "Hello")
		if err == nil {
			collect(s)
			err = s.Err()
			must(t, s.Close())
			stops(t, fake)
		}
		check(t, errors.Is(err, context.Canceled), "the error is %v", err)
	})
	t.Run("while nobody calls Next", func(t *testing.T) {
		wasStopped := make(chan struct{})
		client, fake := newFake(t, map[string]http.HandlerFunc{
			"/chat/stream": stream(start, never), "/chat/prompt": prompted(),
			"/chat/stop": func(w http.ResponseWriter, r *http.Request) {
				stopped(w, r)
				close(wasStopped)
			},
		})
		ctx, cancel := context.WithCancel(context.Background())
		_, err := client.Chats.Stream(ctx, chatID, "Hello")
		must(t, err)
		cancel()
		<-wasStopped
		stops(t, fake)
	})
	t.Run("while the prompt is sent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		client, fake := newFake(t, map[string]http.HandlerFunc{
			"/chat/stream": stream(start, never), "/chat/stop": stopped,
			"/chat/prompt": func(w http.ResponseWriter, r *http.Request) {
				cancel()
				prompted()(w, r)
			},
		})
		s, err := client.Chats.Stream(ctx, chatID, "Hello")
		if err == nil {
			// The answer was faster than the context.
			check(t, !s.Next(), "a delta came after the end of the context")
			err = s.Err()
			must(t, s.Close())
		}
		check(t, errors.Is(err, context.Canceled), "the error is %v", err)
		stops(t, fake)
	})
	t.Run("by Close", func(t *testing.T) {
		client, fake := newFake(t, map[string]http.HandlerFunc{
			"/chat/stream": stream(start, never), "/chat/prompt": prompted(), "/chat/stop": stopped,
		})
		s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
		must(t, err)
		must(t, s.Close())
		must(t, s.Close())
		check(t, !s.Next() && s.Err() == nil, "the error is %v", s.Err())
		stops(t, fake)
	})
	t.Run("the chat is gone", func(t *testing.T) {
		client, _ := newFake(t, map[string]http.HandlerFunc{
			"/chat/stream": stream(start, never), "/chat/prompt": prompted(),
		})
		s, err := client.Chats.Stream(context.Background(), chatID, "Hello")
		must(t, err)
		must(t, s.Close())
	})
}
