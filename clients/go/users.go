package proxygpt

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// Users has the calls about users and sessions.
type Users struct{ client *Client }

// NewUser is what a sign-up needs. The first and last name may be "".
type NewUser struct {
	Username  string `json:"username"`
	Password  string `json:"password"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
}

// UserUpdate changes the fields that are not nil.
type UserUpdate struct {
	Username  *string `json:"username,omitempty"`
	FirstName *string `json:"first_name,omitempty"`
	LastName  *string `json:"last_name,omitempty"`
}

// SignUp makes a user and its first session, whose token the client uses from then on.
func (u *Users) SignUp(ctx context.Context, user NewUser) (*Login, error) {
	return u.begin(ctx, "/user/signup", user)
}

// LogIn begins a session, whose token the client uses from then on.
func (u *Users) LogIn(ctx context.Context, username, password string) (*Login, error) {
	return u.begin(ctx, "/user/login", map[string]string{"username": username, "password": password})
}

func (u *Users) begin(ctx context.Context, path string, body any) (*Login, error) {
	var login Login
	if err := u.client.call(ctx, request{path: path, body: body, isAnonymous: true}, &login); err != nil {
		return nil, err
	}
	u.client.setToken(login.Token)
	return &login, nil
}

// LogOut ends the session, also where its token is used elsewhere; the client then has no token.
func (u *Users) LogOut(ctx context.Context) error {
	token := u.client.Token()
	err := u.client.call(ctx, request{path: "/user/logout", body: struct{}{}}, nil)
	var known *Error
	if err != nil && !(errors.As(err, &known) && known.Status == http.StatusUnauthorized) {
		return err
	}
	u.client.forgetToken(token)
	return nil
}

// Session reads the client's user and session.
func (u *Users) Session(ctx context.Context) (*CurrentSession, error) {
	return result[CurrentSession](ctx, u.client, request{path: "/user/session"})
}

// Read reads a user by id: one who shares a chat or a group with the client's user. The id "" is the client's user.
func (u *Users) Read(ctx context.Context, id string) (*User, error) {
	return result[User](ctx, u.client, request{path: "/user/read", query: optional("id", id)})
}

// ReadByName reads a user by name.
func (u *Users) ReadByName(ctx context.Context, username string) (*User, error) {
	return result[User](ctx, u.client, request{path: "/user/read", query: url.Values{"username": {username}}})
}

// Update changes the client's user.
func (u *Users) Update(ctx context.Context, update UserUpdate) (*User, error) {
	return result[User](ctx, u.client, request{path: "/user/update", body: update})
}

// ChangePassword changes the password of the client's user and ends all other sessions of that user.
func (u *Users) ChangePassword(ctx context.Context, oldPassword, newPassword string) error {
	body := map[string]string{"old_password": oldPassword, "new_password": newPassword}
	return u.client.call(ctx, request{path: "/user/password/update", body: body}, nil)
}

// result makes a call and returns the decoded answer.
func result[T any](ctx context.Context, c *Client, r request) (*T, error) {
	answer := new(T)
	if err := c.call(ctx, r, answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// optional makes a query of one field, or none where the value is "".
func optional(name, value string) url.Values {
	if value == "" {
		return nil
	}
	return url.Values{name: {value}}
}
