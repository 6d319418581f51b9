package proxygpt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// describe says in short what a frame is.
func describe(f Frame) string {
	if f.Kind == FrameReset {
		return "reset " + f.ID
	}
	return fmt.Sprintf("%s %v %s", f.ID, f.Partial, f.Message.Reply)
}

func TestAWatchBringsEachFrameOnce(t *testing.T) {
	done := message("done", "one two")
	again := strings.Replace(done, "12:00:01", "12:00:02", 1)
	tests := map[string]struct {
		streams []string
		want    []string
	}{
		"a reply": {
			[]string{sse("e:1", "", "") + partial("e:2", "one ") + final("e:3", done)},
			[]string{"e:2 true one ", "e:3 false one two"},
		},
		"a final frame that comes again": {
			[]string{final("e:1", done), final("e:1", done) + partial("e:2", "x")},
			[]string{"e:1 false one two", "e:2 true x"},
		},
		"a reply that runs again": {
			[]string{final("e:1", done) + partial("e:2", "one ") + final("e:3", again)},
			[]string{"e:1 false one two", "e:2 true one ", "e:3 false one two"},
		},
		"a reset": {
			[]string{final("e:1", done), sse("reset:0", "reset", `{"reset":true}`) + final("f:1", done)},
			[]string{"e:1 false one two", "reset reset:0", "f:1 false one two"},
		},
		"a frame that is cut": {
			[]string{partial("e:1", "one ") + "id: e:2\ndata: {\"mess", partial("e:2", "two")},
			[]string{"e:1 true one ", "e:2 true two"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var handlers []http.HandlerFunc
			for _, text := range test.streams {
				handlers = append(handlers, stream(text, abruptly))
			}
			handlers = append(handlers, answer(401, fmt.Sprintf(refusal, "unauthorized", "")))
			client, fake := newFake(t, map[string]http.HandlerFunc{"/chat/stream": inTurn(handlers...)})
			w, err := client.Chats.Watch(context.Background(), chatID, WithAfter("e:0"))
			must(t, err)
			var got []string
			for w.Next() {
				got = append(got, describe(w.Frame()))
			}
			check(t, strings.Join(got, "|") == strings.Join(test.want, "|"), "the frames are %q", got)
			var failure *Error
			check(t, errors.As(w.Err(), &failure) && failure.Status == 401, "the error is %v", w.Err())
			first := fake.of("/chat/stream")[0].header.Get("Last-Event-ID")
			check(t, first == "e:0", "the watch began after %q", first)
			must(t, w.Close())
		})
	}
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	client, fake := newFake(t, map[string]http.HandlerFunc{"/chat/stream": stream(partial("e:1", "one"), never)})
	ctx, cancel := context.WithCancel(context.Background())
	w, err := client.Chats.Watch(ctx, chatID)
	must(t, err)
	check(t, w.Next(), "no frame came: %v", w.Err())
	cancel()
	check(t, !w.Next() && errors.Is(w.Err(), context.Canceled), "the error is %v", w.Err())
	check(t, len(fake.of("/chat/stop")) == 0, "a watch stopped a reply")
}

func TestAClosedWatchHasNoError(t *testing.T) {
	client, _ := newFake(t, map[string]http.HandlerFunc{"/chat/stream": stream(partial("e:1", "one"), never)})
	w, err := client.Chats.Watch(context.Background(), chatID)
	must(t, err)
	must(t, w.Close())
	check(t, !w.Next() && w.Err() == nil, "the error is %v", w.Err())
}

func TestFinalFramesAreForgottenInTheEnd(t *testing.T) {
	var ends rememberedEnds
	for number := 0; number < 3*endLimit; number++ {
		f := frame{Message: Message{ID: fmt.Sprint(number)}}
		check(t, !ends.isRepeated(f, []byte("x")), "%d is known", number)
		check(t, ends.isRepeated(f, []byte("x")), "%d is not known", number)
	}
	check(t, len(ends.digests) <= endLimit && len(ends.order) <= endLimit, "%d are remembered", len(ends.digests))
}
