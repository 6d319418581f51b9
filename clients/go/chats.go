package proxygpt

import "context"

// Chats has the calls about chats, prompts and streams.
type Chats struct{ client *Client }

// NewChat is what a new chat may have. The server fills in what is "".
type NewChat struct {
	Name  string `json:"name,omitempty"`
	Model string `json:"model,omitempty"`
	// GroupID is the group whose members may read the chat and prompt in it.
	GroupID string `json:"group_id,omitempty"`
}

// ChatUpdate changes the fields that are not nil.
type ChatUpdate struct {
	Name  *string
	Model *string
}

// Create makes a chat.
func (c *Chats) Create(ctx context.Context, chat NewChat) (*Chat, error) {
	return result[Chat](ctx, c.client, request{path: "/chat/create", body: chat})
}

// List reads a page of the chats that the client's user may read; with a group's id those of the group alone.
func (c *Chats) List(ctx context.Context, groupID string, page Page) (*ChatPage, error) {
	query := page.values(map[string]string{"group_id": groupID})
	return result[ChatPage](ctx, c.client, request{path: "/chat/index", query: query})
}

// ListAll walks over all chats that the client's user may read, newest first; with a group's id over those of the
// group alone.
func (c *Chats) ListAll(ctx context.Context, groupID string) *Iterator[Chat] {
	return newIterator(ctx, func(chat Chat) string { return chat.ID },
		func(ctx context.Context, before string) ([]Chat, bool, error) {
			page, err := c.List(ctx, groupID, Page{Before: before})
			if err != nil {
				return nil, false, err
			}
			return page.Chats, page.HasMore, nil
		})
}

// Read reads a chat, the users who were added to it, and a page of its messages.
func (c *Chats) Read(ctx context.Context, id string, page Page) (*ChatDetails, error) {
	query := page.values(map[string]string{"id": id})
	return result[ChatDetails](ctx, c.client, request{path: "/chat/read", query: query})
}

// MessagesAll walks over all messages of a chat, newest first.
func (c *Chats) MessagesAll(ctx context.Context, id string) *Iterator[Message] {
	return newIterator(ctx, func(message Message) string { return message.ID },
		func(ctx context.Context, before string) ([]Message, bool, error) {
			page, err := c.Read(ctx, id, Page{Before: before})
			if err != nil {
				return nil, false, err
			}
			return page.Messages, page.HasMore, nil
		})
}

// Update changes a chat.
func (c *Chats) Update(ctx context.Context, id string, update ChatUpdate) (*Chat, error) {
	body := struct {
		ID    string  `json:"id"`
		Name  *string `json:"name,omitempty"`
		Model *string `json:"model,omitempty"`
	}{id, update.Name, update.Model}
	return result[Chat](ctx, c.client, request{path: "/chat/update", body: body})
}

// Delete deletes a chat with its messages.
func (c *Chats) Delete(ctx context.Context, id string) error {
	return c.client.call(ctx, request{path: "/chat/delete", body: map[string]string{"id": id}}, nil)
}

// AddUser lets a user, by id or name, into a chat.
func (c *Chats) AddUser(ctx context.Context, id, user string) error {
	body := map[string]string{"id": id, "user_id": user}
	return c.client.call(ctx, request{path: "/chat/user/add", body: body}, nil)
}

// RemoveUser takes a user, by id or name, out of a chat.
func (c *Chats) RemoveUser(ctx context.Context, id, user string) error {
	body := map[string]string{"id": id, "user_id": user}
	return c.client.call(ctx, request{path: "/chat/user/remove", body: body}, nil)
}

// PromptOption changes a prompt or a stream.
type PromptOption func(*prompt)

// WithContextMessages sets how many earlier messages of the chat the model gets.
func WithContextMessages(count int) PromptOption { return func(p *prompt) { p.Context = &count } }

// OffTheRecord stores the prompt for the chat's users alone: no model gets it, and it has no reply.
func OffTheRecord() PromptOption { return func(p *prompt) { p.OffTheRecord = true } }

// WithIdempotencyKey sets the key under which the server knows the prompt: the same key brings the same message.
// Without this option each call has a key of its own.
func WithIdempotencyKey(key string) PromptOption { return func(p *prompt) { p.key = key } }

// prompt is the body of a prompt.
type prompt struct {
	ID           string `json:"id"`
	Prompt       string `json:"prompt"`
	Context      *int   `json:"context,omitempty"`
	Stream       bool   `json:"stream,omitempty"`
	OffTheRecord bool   `json:"otr,omitempty"`
	key          string
}

func newPrompt(id, text string, isStreamed bool, options []PromptOption) (*prompt, error) {
	p := &prompt{ID: id, Prompt: text, Stream: isStreamed}
	for _, option := range options {
		option(p)
	}
	if p.key == "" {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		p.key = key
	}
	return p, nil
}

// Prompt sends a prompt and waits for the reply.
func (c *Chats) Prompt(ctx context.Context, id, text string, options ...PromptOption) (*Reply, error) {
	p, err := newPrompt(id, text, false, options)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, p)
}

func (c *Chats) send(ctx context.Context, p *prompt) (*Reply, error) {
	return result[Reply](ctx, c.client, request{path: "/chat/prompt", body: p, key: p.key})
}

// Stop ends a running reply. The answer has the text so far.
func (c *Chats) Stop(ctx context.Context, id, messageID string) (*Reply, error) {
	body := map[string]string{"id": id, "message_id": messageID}
	return result[Reply](ctx, c.client, request{path: "/chat/stop", body: body})
}
