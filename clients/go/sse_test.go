package proxygpt

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTheParserReadsEventsSplitAtEveryByte(t *testing.T) {
	tests := []struct {
		name, text string
		want       []event
		comments   int
		retry      time.Duration
	}{
		{name: "nothing", text: ""},
		{name: "an event", text: "id: 1\ndata: a\n\n", want: []event{{"message", []byte("a"), "1"}}},
		{name: "an event without the empty line", text: "id: 1\ndata: a\n"},
		{name: "an id alone", text: "id: 1\n\n", want: []event{{"message", nil, "1"}}},
		{name: "an id that stays", text: "id: 1\ndata: a\n\ndata: b\n\n",
			want: []event{{"message", []byte("a"), "1"}, {"message", []byte("b"), "1"}}},
		{name: "a name", text: "event: reset\nid: 2\ndata: {}\n\ndata: b\n\n",
			want: []event{{"reset", []byte("{}"), "2"}, {"message", []byte("b"), "2"}}},
		{name: "data of two lines", text: "data: a\ndata\ndata:b\n\n", want: []event{{"message", []byte("a\n\nb"), ""}}},
		{name: "every line end", text: "data: a\r\ndata: b\rdata: c\n\r\n\r\n",
			want: []event{{"message", []byte("a\nb\nc"), ""}}},
		{name: "carriage returns alone", text: "data: a\r\rdata: b\r\r",
			want: []event{{"message", []byte("a"), ""}, {"message", []byte("b"), ""}}},
		{name: "comments and unknown fields", text: ": keep-alive\n\nsomething: else\nretry: x\n\n", comments: 1},
		{name: "a time", text: "retry: 1500\n\n", retry: 1500 * time.Millisecond},
		{name: "an id with a null", text: "id: 1\x00\ndata: a\n\n", want: []event{{"message", []byte("a"), ""}}},
		{name: "a byte order mark", text: "\xEF\xBB\xBFdata: a\n\n", want: []event{{"message", []byte("a"), ""}}},
		{name: "one space of two", text: "data:  a\n\n", want: []event{{"message", []byte(" a"), ""}}},
		{name: "characters of many bytes", text: "data: äöü 😀\n\n", want: []event{{"message", []byte("äöü 😀"), ""}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for cut := 0; cut <= len(test.text); cut++ {
				var parser eventParser
				must(t, parser.feed([]byte(test.text[:cut])))
				must(t, parser.feed([]byte(test.text[cut:])))
				check(t, reflect.DeepEqual(parser.events, test.want), "cut at %d: %q", cut, parser.events)
				check(t, parser.comments == test.comments, "cut at %d: %d comments", cut, parser.comments)
				check(t, parser.retry == test.retry, "cut at %d: retry %v", cut, parser.retry)
			}
			var parser eventParser
			for _, piece := range []byte(test.text) {
				must(t, parser.feed([]byte{piece}))
			}
			check(t, reflect.DeepEqual(parser.events, test.want), "byte by byte: %q", parser.events)
		})
	}
}

func TestTheParserRefusesAnEventWithoutEnd(t *testing.T) {
	var parser eventParser
	piece := []byte("data: " + strings.Repeat("x", 1<<20) + "\n")
	var err error
	for count := 0; err == nil && count < 100; count++ {
		err = parser.feed(piece)
	}
	check(t, errors.Is(err, errTooLong), "the error is %v", err)
	check(t, len(parser.data) <= eventLimit, "%d bytes were kept", len(parser.data))
}

func TestAReplyTextYieldsEachWordOnce(t *testing.T) {
	const again = "\x00again"
	tests := []struct {
		name   string
		deltas []string
		want   []string
		whole  string
		rest   string
	}{
		{name: "deltas in order", deltas: []string{"a ", "b ", "c"}, want: []string{"a ", "b ", "c"}, whole: "a b c"},
		{name: "the whole has more", deltas: []string{"a "}, want: []string{"a "}, whole: "a b", rest: "b"},
		{name: "no delta", whole: "a b", rest: "a b"},
		{name: "from the beginning again, in other pieces", deltas: []string{"one ", "two ", again, "one t", "wo three"},
			want: []string{"one ", "two ", "", "three"}, whole: "one two three"},
		{name: "from the beginning twice", deltas: []string{"ab", again, "a", again, "abc", "d"},
			want: []string{"ab", "", "c", "d"}, whole: "abcd"},
		{name: "a delta from the middle after a restart", deltas: []string{"one ", "two ", again, "three ", "four"},
			want: []string{"one ", "two ", "", ""}, whole: "one two three four", rest: "three four"},
		{name: "another reply", deltas: []string{"one"}, want: []string{"one"}, whole: "two", rest: ""},
		{name: "characters of many bytes", deltas: []string{"Grü", again, "G", "rüße"}, want: []string{"Grü", "", "ße"},
			whole: "Grüße"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var text replyText
			var got []string
			for _, delta := range test.deltas {
				if delta == again {
					text.restart()
				} else {
					got = append(got, text.add(delta))
				}
			}
			check(t, reflect.DeepEqual(got, test.want), "the deltas are %q", got)
			rest := text.finish(test.whole)
			check(t, rest == test.rest, "the rest is %q", rest)
		})
	}
}
