package proxygpt

import "time"

// State says how far the reply to a prompt is.
type State string

// The states of a message.
const (
	// StatePending means that the reply is awaited.
	StatePending State = "pending"
	// StateStreaming means that the reply is being written.
	StateStreaming State = "streaming"
	// StateDone means that the reply is complete.
	StateDone State = "done"
	// StateStopped means that the reply was stopped; its text so far is kept.
	StateStopped State = "stopped"
	// StateFailed means that the reply failed; the message's Error says why.
	StateFailed State = "failed"
)

// IsRunning says whether the reply has not ended yet.
func (s State) IsRunning() bool { return s == StatePending || s == StateStreaming }

// User is a user. Of other users the server shows the id and the names alone.
type User struct {
	ID        string    `json:"id"`
	Username  string    `json:"username"`
	FirstName string    `json:"first_name"`
	LastName  string    `json:"last_name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Groups are the ids of the user's groups.
	Groups []string `json:"groups"`
}

// Session is the time for which a token is valid.
type Session struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Login is the answer to a sign-up and a log-in. The client uses the token from then on.
type Login struct {
	Token string `json:"token"`
	User  User   `json:"user"`
}

// CurrentSession is the client's user with the session of its token.
type CurrentSession struct {
	User    User    `json:"user"`
	Session Session `json:"session"`
}

// Chat is a chat. GroupID is "" for a chat that belongs to no group.
type Chat struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Model     string    `json:"model"`
	UserID    string    `json:"user_id"`
	GroupID   string    `json:"group_id"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Message is a prompt with its reply.
type Message struct {
	ID     string `json:"id"`
	ChatID string `json:"chat_id"`
	UserID string `json:"user_id"`
	// Username is the author's present name, or "" where the author is gone.
	Username string `json:"username"`
	GroupID  string `json:"group_id"`
	Prompt   string `json:"prompt"`
	// Reply is the text so far. In a partial frame it is the new text alone.
	Reply string `json:"reply"`
	Model string `json:"model"`
	// OffTheRecord says that no model gets the message, and that it has no reply.
	OffTheRecord bool        `json:"otr"`
	State        State       `json:"state"`
	Error        *ReplyError `json:"error"`
	Usage        *Usage      `json:"usage"`
	CreatedAt    time.Time   `json:"created_at"`
	UpdatedAt    time.Time   `json:"updated_at"`
}

// ReplyError says why a reply failed.
type ReplyError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// UpstreamMessage is what the model's server said, or "".
	UpstreamMessage string `json:"upstream_message"`
}

// Usage counts the tokens of a reply. A count that the model's server does not tell is nil.
type Usage struct {
	PromptTokens     *int64 `json:"prompt_tokens"`
	CompletionTokens *int64 `json:"completion_tokens"`
}

// Reply is the answer to a prompt.
type Reply struct {
	Message Message `json:"message"`
	Reply   string  `json:"reply"`
}

// Group is a group of users.
type Group struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	OwnerID     string    `json:"owner_id"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// Page says which part of a list is wanted: the newest Limit elements, unless Before or After names an element.
type Page struct {
	// Limit is the number of elements at most; 0 leaves it to the server.
	Limit int
	// Before is the id of the element that the page ends before.
	Before string
	// After is the id of the element that the page begins after.
	After string
}

// ChatPage is a page of chats, oldest first.
type ChatPage struct {
	Chats   []Chat `json:"chats"`
	HasMore bool   `json:"has_more"`
}

// ChatDetails is a chat with the users who were added to it and a page of its messages, oldest first.
type ChatDetails struct {
	Chat     Chat      `json:"chat"`
	Users    []User    `json:"users"`
	Messages []Message `json:"messages"`
	HasMore  bool      `json:"has_more"`
}

// GroupPage is a page of groups, oldest first.
type GroupPage struct {
	Groups  []Group `json:"groups"`
	HasMore bool    `json:"has_more"`
}

// GroupDetails is a group with a page of its members.
type GroupDetails struct {
	Group   Group  `json:"group"`
	Members []User `json:"members"`
	HasMore bool   `json:"has_more"`
}

// UserPage is a page of users.
type UserPage struct {
	Users   []User `json:"users"`
	HasMore bool   `json:"has_more"`
}

// OpenAI is what OpenAI's own client needs to reach the models through the server.
type OpenAI struct {
	BaseURL string
	APIKey  string
}

// String returns a pointer to a text, for the optional fields of updates.
func String(text string) *string { return &text }
