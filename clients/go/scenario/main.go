// The scenario that every client runs: the same steps and the same lines in all languages.
//
// Environment: PROXY_GPT_URL, SCENARIO_USER, SCENARIO_OTHER. The program prints one JSON object a line, and at "cut"
// and "worker" it waits for a line on standard input, so that the test can stop and start processes meanwhile. The
// server has MAX_REPLIES_PER_USER=1 and a mock of a model's server that takes 30 ms for a word.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"proxy-gpt.example/proxygpt"
)

const (
	password = "correct horse battery"
	// The mock repeats the prompt behind "echo:", one word in 30 ms: 61 words are a reply of two seconds.
	slowModel   = "mock?chunks=61"
	missingChat = "00000000-0000-7000-8000-000000000000"
)

var (
	ctx    = context.Background()
	input  = bufio.NewReader(os.Stdin)
	output = bufio.NewWriter(os.Stdout)
)

// field is one member of a line; the order of members is part of the scenario.
type field struct {
	name  string
	value any
}

// object is a JSON object whose members keep their order.
type object []field

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	for index, member := range o {
		separator := byte(',')
		if index == 0 {
			separator = '{'
		}
		text.WriteByte(separator)
		for position, value := range []any{member.name, member.value} {
			if position == 1 {
				text.WriteByte(':')
			}
			encoder := json.NewEncoder(&text)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(value); err != nil {
				return nil, err
			}
			text.Truncate(text.Len() - 1)
		}
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

func print(step string, fields ...field) {
	line, err := append(object{{"step", step}}, fields...).MarshalJSON()
	must(err)
	output.Write(append(line, '\n'))
	must(output.Flush())
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// value returns the result of a call that has to succeed.
func value[T any](result T, err error) T {
	must(err)
	return result
}

func waitForGo() { value(input.ReadString('\n')) }

// failure returns the error of a call that has to fail.
func failure[T any](_ T, err error) *proxygpt.Error {
	var typed *proxygpt.Error
	if !errors.As(err, &typed) {
		must(fmt.Errorf("a call should have failed with a typed error: %w", err))
	}
	return typed
}

// optional is a text, or null for "".
func optional(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// endedMessage reads a message until its reply has ended.
func endedMessage(client *proxygpt.Client, chatID, id string) proxygpt.Message {
	for {
		messages := client.Chats.MessagesAll(ctx, chatID)
		for messages.Next() {
			if message := messages.Value(); message.ID == id && !message.State.IsRunning() {
				return message
			}
		}
		must(messages.Err())
		time.Sleep(50 * time.Millisecond)
	}
}

func main() {
	address := os.Getenv("PROXY_GPT_URL")
	username, otherUsername := os.Getenv("SCENARIO_USER"), os.Getenv("SCENARIO_OTHER")
	words := make([]string, 60)
	for index := range words {
		words[index] = fmt.Sprintf("word%d", index+1)
	}
	sixtyWords := strings.Join(words, " ")
	client := proxygpt.New(address)

	// 1 to 3: users and sessions
	signedUp := value(client.Users.SignUp(ctx, proxygpt.NewUser{Username: username, Password: password}))
	print("sign-up", field{"role", signedUp.User.Role}, field{"has_token", signedUp.Token != ""})
	wrong := failure(proxygpt.New(address).Users.LogIn(ctx, username, "wrong password"))
	print("wrong-password", field{"error", object{{"status", wrong.Status}, {"code", wrong.Code}}})
	session := value(client.Users.Session(ctx))
	print("session", field{"same_user", session.User.ID == signedUp.User.ID})

	// 4 to 6: a chat, a prompt, a stream
	chat := value(client.Chats.Create(ctx, proxygpt.NewChat{Name: "Scenario"}))
	print("chat", field{"name", chat.Name}, field{"model", chat.Model})
	answer := value(client.Chats.Prompt(ctx, chat.ID, "Tell me about Spain."))
	print("prompt", field{"reply", answer.Reply}, field{"state", answer.Message.State})
	text := ""
	stream := value(client.Chats.Stream(ctx, chat.ID, "one two three four five"))
	for stream.Next() {
		text += stream.Delta().Text
	}
	must(stream.Err())
	last := stream.Delta().Message
	must(stream.Close())
	print("stream", field{"text", text}, field{"deltas_joined_equal_reply", text == last.Reply},
		field{"state", last.State})

	// 7: the end of the context after the third delta ends the reply at the model's server
	slow := value(client.Chats.Create(ctx, proxygpt.NewChat{Name: "Slow", Model: slowModel}))
	cancelable, cancel := context.WithCancel(ctx)
	stream = value(client.Chats.Stream(cancelable, slow.ID, sixtyWords))
	for deltas := 1; stream.Next(); deltas++ {
		last = stream.Delta().Message
		if deltas == 3 {
			cancel()
		}
	}
	if !errors.Is(stream.Err(), context.Canceled) {
		must(fmt.Errorf("the stream ended otherwise than by its context: %w", stream.Err()))
	}
	must(stream.Close())
	stopped := endedMessage(client, slow.ID, last.ID)
	print("abort", field{"state", stopped.State}, field{"is_shorter", len(stopped.Reply) < len("echo: "+sixtyWords)})

	// 8: the streamer is killed in mid-reply
	text = ""
	stream = value(client.Chats.Stream(ctx, slow.ID, sixtyWords))
	for deltas := 1; stream.Next(); deltas++ {
		text += stream.Delta().Text
		if deltas == 3 {
			print("cut", field{"at", "third delta"})
			waitForGo()
		}
	}
	must(stream.Err())
	stored := endedMessage(client, slow.ID, stream.Delta().Message.ID)
	must(stream.Close())
	print("resumed", field{"text", text}, field{"equals_stored", text == stored.Reply})
	must(client.Chats.Delete(ctx, slow.ID))

	// 9: a worker is killed between two calls
	print("worker", field{"at", "before prompt"})
	waitForGo()
	answer = value(client.Chats.Prompt(ctx, chat.ID, "after the restart"))
	print("worker-prompt", field{"reply", answer.Reply})

	// 10: the first chat and 250 more, over several pages
	for number := 1; number <= 250; number++ {
		value(client.Chats.Create(ctx, proxygpt.NewChat{Name: fmt.Sprintf("Chat %d", number)}))
	}
	count, distinct := 0, map[string]bool{}
	chats := client.Chats.ListAll(ctx, "")
	for chats.Next() {
		count++
		distinct[chats.Value().ID] = true
	}
	must(chats.Err())
	print("paging", field{"chats", count}, field{"distinct", len(distinct)})

	// 11 to 14: off the record, and errors
	note := value(client.Chats.Prompt(ctx, chat.ID, "between us", proxygpt.OffTheRecord()))
	print("off-the-record", field{"otr", note.Message.OffTheRecord}, field{"reply", note.Reply})
	missing := failure(client.Chats.Read(ctx, missingChat, proxygpt.Page{}))
	print("not-found", field{"error", object{{"status", missing.Status}, {"code", missing.Code}}})
	conflict := failure(
		proxygpt.New(address).Users.SignUp(ctx, proxygpt.NewUser{Username: username, Password: password}))
	print("conflict", field{"error", object{
		{"status", conflict.Status}, {"code", conflict.Code}, {"param", optional(conflict.Param)},
	}})
	busy := value(client.Chats.Create(ctx, proxygpt.NewChat{Name: "Busy", Model: slowModel}))
	impatient := proxygpt.New(address, proxygpt.WithToken(client.Token()), proxygpt.WithMaxRetries(0))
	stream = value(client.Chats.Stream(ctx, busy.ID, sixtyWords))
	if !stream.Next() {
		must(fmt.Errorf("a stream ended before its first delta: %w", stream.Err()))
	}
	limited := failure(impatient.Chats.Prompt(ctx, chat.ID, "one too many"))
	print("rate-limit", field{"error", object{
		{"status", limited.Status}, {"code", limited.Code}, {"has_retry_after", limited.RetryAfter != nil},
	}})
	must(stream.Close())
	endedMessage(client, busy.ID, stream.Delta().Message.ID)

	// 15: a group of two users, and a chat that both read
	other := proxygpt.New(address)
	otherUser := value(other.Users.SignUp(ctx, proxygpt.NewUser{Username: otherUsername, Password: password})).User
	group := value(client.Groups.Create(ctx, proxygpt.NewGroup{Name: "Scenario"}))
	must(client.Groups.AddMembers(ctx, group.ID, otherUser.ID))
	memberCount := 0
	members := client.Groups.MembersAll(ctx, group.ID)
	for members.Next() {
		memberCount++
	}
	must(members.Err())
	shared := value(client.Chats.Create(
		ctx, proxygpt.NewChat{Name: "Shared", Model: slowModel, GroupID: group.ID}))
	seen := value(other.Chats.Read(ctx, shared.ID, proxygpt.Page{})).Chat
	print("group", field{"members", memberCount}, field{"chat_in_group", seen.GroupID == group.ID})

	// 16: the other user watches the chat while the first one prompts
	watch := value(other.Chats.Watch(ctx, shared.ID))
	prompted := make(chan error, 1)
	go func() {
		_, err := client.Chats.Prompt(ctx, shared.ID, sixtyWords)
		prompted <- err
	}()
	var kinds []proxygpt.FrameKind
	for isOver := false; !isOver && watch.Next(); {
		frame := watch.Frame()
		isKnown := false
		for _, kind := range kinds {
			isKnown = isKnown || kind == frame.Kind
		}
		if !isKnown {
			kinds = append(kinds, frame.Kind)
		}
		isOver = frame.Kind == proxygpt.FrameMessage && !frame.Partial
	}
	must(watch.Err())
	must(watch.Close())
	must(<-prompted)
	print("watch", field{"kinds", kinds})

	// 17: a log-out ends the other user's watch
	watch = value(other.Chats.Watch(ctx, shared.ID))
	must(proxygpt.New(address, proxygpt.WithToken(other.Token())).Users.LogOut(ctx))
	for watch.Next() {
	}
	ended := failure(0, watch.Err())
	print("logout", field{"watch_ended", ended.Status == http.StatusUnauthorized})

	// 18: what OpenAI's own client needs
	openAI := client.OpenAI()
	request := value(http.NewRequest(http.MethodGet, openAI.BaseURL+"/models", nil))
	request.Header.Set("Authorization", "Bearer "+openAI.APIKey)
	models := value(http.DefaultClient.Do(request))
	models.Body.Close()
	print("openai", field{"models", models.StatusCode == http.StatusOK})

	print("end")
}
