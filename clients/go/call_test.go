package proxygpt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestWhatIsSentAgain(t *testing.T) {
	session := `{"user":{"id":"u"},"session":{"id":"s"}}`
	ours := func(status int, code string, headers ...string) http.HandlerFunc {
		return answer(status, fmt.Sprintf(refusal, code, ""), headers...)
	}
	broken := stream("{", byReset)
	tests := map[string]struct {
		first   http.HandlerFunc
		isAgain bool
		wait    time.Duration
	}{
		"a broken connection":        {broken, true, 0},
		"429 with a time":            {ours(429, "rate_limited", "Retry-After", "3"), true, 3 * time.Second},
		"429 without a time":         {ours(429, "rate_limited"), false, 0},
		"429 with a long time":       {ours(429, "rate_limited", "Retry-After", "61"), false, 0},
		"503 with a time":            {ours(503, "unavailable", "Retry-After", "5"), true, 5 * time.Second},
		"503 of ours":                {ours(503, "unavailable"), true, 0},
		"502 of a model's server":    {ours(502, "upstream_error"), false, 0},
		"502 of nginx":               {ours(502, "upstream_error", "Retry-After", "1"), true, time.Second},
		"502 of a proxy":             {answer(502, "<html>Bad Gateway</html>"), true, 0},
		"504 of a proxy":             {answer(504, ""), true, 0},
		"504 of a model's server":    {ours(504, "upstream_timeout"), false, 0},
		"500":                        {ours(500, "internal"), false, 0},
		"401":                        {ours(401, "unauthorized", "Retry-After", "1"), false, 0},
		"an answer that is not JSON": {answer(200, "<html>"), false, 0},
		"a redirection":              {answer(307, "", "Location", "/elsewhere"), false, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			handlers := map[string]http.HandlerFunc{
				"/user/session": inTurn(test.first, answer(200, session)),
				"/chat/prompt":  inTurn(test.first, answer(200, `{"message":`+message("done", "r")+`,"reply":"r"}`)),
				"/chat/create":  inTurn(test.first, answer(200, `{"id":"c"}`)),
			}
			client, fake := newFake(t, handlers)
			ctx := context.Background()
			_, readError := client.Users.Session(ctx)
			_, promptError := client.Chats.Prompt(ctx, chatID, "Hello")
			check(t, (readError == nil) == test.isAgain, "the read: %v", readError)
			check(t, (promptError == nil) == test.isAgain, "the prompt: %v", promptError)
			prompts := fake.of("/chat/prompt")
			if test.isAgain {
				check(t, len(prompts) == 2, "%d prompts", len(prompts))
				keys := []string{prompts[0].header.Get("Idempotency-Key"), prompts[1].header.Get("Idempotency-Key")}
				check(t, keys[0] != "" && keys[0] == keys[1], "the keys are %q", keys)
				for _, wait := range fake.allWaits() {
					isRight := wait == test.wait || test.wait == 0 && wait > 0 && wait <= time.Second
					check(t, isRight, "the wait is %v", wait)
				}
			} else {
				check(t, len(prompts) == 1, "%d prompts", len(prompts))
			}
			_, createError := client.Chats.Create(ctx, NewChat{Name: "x"})
			var failure *Error
			check(t, errors.As(createError, &failure), "the creation: %v", createError)
			check(t, len(fake.of("/chat/create")) == 1, "a creation was sent again")
			check(t, len(fake.of("/elsewhere")) == 0, "a redirection was followed")
		})
	}
}

func TestRetriesHaveALimit(t *testing.T) {
	for _, retries := range []int{0, 2, 5} {
		client, fake := newFake(t, map[string]http.HandlerFunc{"/user/session": answer(503, "")}, WithMaxRetries(retries))
		_, err := client.Users.Session(context.Background())
		check(t, err != nil && len(fake.of("/user/session")) == 1+retries, "%d calls", len(fake.of("/user/session")))
	}
}

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	for attempt := 0; attempt < 40; attempt++ {
		want := longestBackoff
		if attempt < 4 {
			want = firstBackoff << attempt
		}
		for count := 0; count < 50; count++ {
			got := backoff(attempt)
			check(t, got >= want/2 && got <= want, "attempt %d waits %v", attempt, got)
		}
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]int{
		"": -1, "0": 0, " 12 ": 12, "-1": -1, "soon": -1, "99999999999": -1,
		"Mon, 30 Nov 2026 12:00:30 GMT": 30, "Mon, 30 Nov 2026 11:00:00 GMT": 0,
	} {
		got := -1
		if seconds := retryAfter(header, now); seconds != nil {
			got = *seconds
		}
		check(t, got == want, "%q is %d", header, got)
	}
}

func TestErrorsAreTyped(t *testing.T) {
	client, _ := newFake(t, map[string]http.HandlerFunc{
		"/chat/prompt": answer(429,
			`{"error":{"message":"Too many.","type":"t","code":"rate_limited","param":"id","upstream_message":"slow"}}`,
			"X-Request-Id", "req-1", "Retry-After", "90"),
	})
	_, err := client.Chats.Prompt(context.Background(), chatID, "Hello")
	var failure *Error
	if !errors.As(err, &failure) {
		t.Fatalf("the error is %v", err)
	}
	check(t, failure.Status == 429 && failure.Code == "rate_limited" && failure.Param == "id" &&
		failure.Message == "Too many." && failure.RequestID == "req-1" && *failure.RetryAfter == 90 &&
		failure.UpstreamMessage == "slow", "the error is %+v", failure)
	want := "proxygpt: 429 rate_limited: Too many. (upstream: slow) (request req-1)"
	check(t, err.Error() == want, "the text is %q", err)
}

func TestAServerThatIsAway(t *testing.T) {
	client, fake := newFake(t, nil)
	fake.Server.Close()
	_, err := client.Users.Session(context.Background())
	var failure *Error
	check(t, errors.As(err, &failure) && failure.Status == 0 && failure.Code == CodeConnection, "the error is %v", err)
	check(t, errors.Unwrap(failure) != nil, "the error has no cause")
	check(t, !strings.Contains(err.Error(), "pgpt_secret"), "the error has the token: %v", err)
}

func TestACallHasATimeout(t *testing.T) {
	hanging := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	client, _ := newFake(t, map[string]http.HandlerFunc{"/user/session": hanging}, WithTimeout(50*time.Millisecond))
	_, err := client.Users.Session(context.Background())
	var failure *Error
	check(t, errors.As(err, &failure) && failure.Status == 0 && failure.Code == CodeTimeout, "the error is %v", err)
}

func TestACallEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	client, fake := newFake(t, map[string]http.HandlerFunc{
		"/user/session": func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		},
	})
	_, err := client.Users.Session(ctx)
	check(t, errors.Is(err, context.Canceled), "the error is %v", err)
	check(t, len(fake.of("/user/session")) == 1, "the call was sent again")
}

func TestTheBaseAddress(t *testing.T) {
	for address, want := range map[string]string{
		"http://localhost:8080":           "http://localhost:8080",
		"https://api.example.org/":        "https://api.example.org",
		" https://example.org/gpt/api/ ":  "https://example.org/gpt/api",
		"http://[::1]:8080":               "http://[::1]:8080",
		"":                                "",
		"localhost:8080":                  "",
		"ftp://example.org":               "",
		"http://":                         "",
		"http://asim:secret@example.org":  "",
		"http://example.org?token=secret": "",
		"http://example.org/#secret":      "",
		"http://example.org:port/secret":  "",
	} {
		client := New(address)
		check(t, client.base == want, "%q is %q", address, client.base)
		if want == "" {
			_, err := client.Users.Session(context.Background())
			var failure *Error
			check(t, errors.As(err, &failure) && failure.Code == CodeInvalidAddress, "%q: %v", address, err)
			check(t, !strings.Contains(fmt.Sprint(err), "secret"), "the error quotes the address: %v", err)
		}
	}
}

func TestABaseAddressMayHaveAPath(t *testing.T) {
	client, fake := newFake(t, map[string]http.HandlerFunc{"/gpt/user/session": answer(200, `{}`)})
	client = New(fake.URL+"/gpt/", WithToken("t"))
	_, err := client.Users.Session(context.Background())
	must(t, err)
	check(t, client.OpenAI() == OpenAI{fake.URL + "/gpt/v1", "t"}, "OpenAI gets %+v", client.OpenAI())
}

func TestTheTokenOfASession(t *testing.T) {
	login := answer(200, `{"token":"pgpt_new","user":{"id":"u","username":"asim","role":"user"}}`)
	client, fake := newFake(t, map[string]http.HandlerFunc{
		"/user/signup": login, "/user/login": login, "/user/logout": answer(200, `{}`),
		"/user/session": answer(200, `{}`),
	})
	ctx := context.Background()
	signedUp, err := client.Users.SignUp(ctx, NewUser{Username: "asim", Password: "p"})
	must(t, err)
	check(t, signedUp.Token == "pgpt_new" && client.Token() == "pgpt_new", "the token is %q", client.Token())
	signup := fake.of("/user/signup")[0]
	check(t, signup.header.Get("Authorization") == "", "a sign-up has a token")
	check(t, len(signup.fields) == 2, "a sign-up has the fields %v", signup.fields)
	_, err = client.Users.Session(ctx)
	must(t, err)
	check(t, fake.of("/user/session")[0].header.Get("Authorization") == "Bearer pgpt_new", "the new token is not used")
	must(t, client.Users.LogOut(ctx))
	check(t, client.Token() == "", "the token is %q", client.Token())
	_, err = client.Users.LogIn(ctx, "asim", "p")
	must(t, err)
	check(t, client.Token() == "pgpt_new", "the token is %q", client.Token())
}

func TestALogOutOfASessionThatHasEnded(t *testing.T) {
	client, _ := newFake(t, map[string]http.HandlerFunc{
		"/user/logout": answer(401, fmt.Sprintf(refusal, "unauthorized", "")),
	})
	must(t, client.Users.LogOut(context.Background()))
	check(t, client.Token() == "", "the token is %q", client.Token())
}

// page answers with a part of the numbers from 1 to count, as the server pages its lists.
func page(name string, count, size int, isThere func(int) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		end := count + 1
		if before := r.URL.Query().Get("before"); before != "" {
			fmt.Sscan(before, &end)
			if !isThere(end) {
				answer(400, fmt.Sprintf(refusal, "invalid_request", "before"))(w, r)
				return
			}
		}
		elements := []map[string]string{}
		number := end - 1
		for ; number >= 1 && len(elements) < size; number-- {
			if isThere(number) {
				elements = append([]map[string]string{{"id": fmt.Sprint(number)}}, elements...)
			}
		}
		body, _ := json.Marshal(map[string]any{name: elements, "has_more": number >= 1})
		w.Write(body)
	}
}

func TestListsAreReadPageByPage(t *testing.T) {
	all := func(int) bool { return true }
	for _, count := range []int{0, 1, 2, 3, 4, 7, 250} {
		for _, size := range []int{1, 3, 100} {
			client, _ := newFake(t, map[string]http.HandlerFunc{
				"/chat/index":    page("chats", count, size, all),
				"/chat/read":     page("messages", count, size, all),
				"/group/index":   page("groups", count, size, all),
				"/group/members": page("users", count, size, all),
			})
			ctx := context.Background()
			chats, messages := client.Chats.ListAll(ctx, ""), client.Chats.MessagesAll(ctx, chatID)
			groups, members := client.Groups.ListAll(ctx), client.Groups.MembersAll(ctx, "g")
			for number := count; number >= 1; number-- {
				id := fmt.Sprint(number)
				check(t, chats.Next() && chats.Value().ID == id, "chat %s is %+v", id, chats.Value())
				check(t, messages.Next() && messages.Value().ID == id, "message %s is %+v", id, messages.Value())
				check(t, groups.Next() && groups.Value().ID == id, "group %s is %+v", id, groups.Value())
				check(t, members.Next() && members.Value().ID == id, "member %s is %+v", id, members.Value())
			}
			check(t, !chats.Next() && !messages.Next() && !groups.Next() && !members.Next(), "a list of %d has more", count)
			for _, err := range []error{chats.Err(), messages.Err(), groups.Err(), members.Err()} {
				must(t, err)
			}
		}
	}
}

func TestAListMayLoseWhatItHasShown(t *testing.T) {
	deleted := map[int]bool{}
	client, _ := newFake(t, map[string]http.HandlerFunc{
		"/chat/index": page("chats", 20, 3, func(number int) bool { return !deleted[number] }),
	})
	chats := client.Chats.ListAll(context.Background(), "")
	for chats.Next() {
		var number int
		fmt.Sscan(chats.Value().ID, &number)
		deleted[number] = true
	}
	must(t, chats.Err())
	check(t, len(deleted) == 20, "%d chats were shown", len(deleted))
}

func TestAListEndsWithAnError(t *testing.T) {
	client, _ := newFake(t, map[string]http.HandlerFunc{
		"/chat/index": inTurn(
			answer(200, `{"chats":[{"id":"1"},{"id":"2"}],"has_more":true}`), answer(401, fmt.Sprintf(refusal, "unauthorized", ""))),
	})
	chats := client.Chats.ListAll(context.Background(), "")
	count := 0
	for chats.Next() {
		count++
	}
	var failure *Error
	check(t, errors.As(chats.Err(), &failure) && failure.Status == 401, "the error is %v", chats.Err())
	check(t, count == 1 && !chats.Next(), "%d chats came", count)
}

func TestTheFieldsOfCalls(t *testing.T) {
	ok := answer(200, `{}`)
	client, fake := newFake(t, map[string]http.HandlerFunc{
		"/user/read": ok, "/user/update": ok, "/user/password/update": ok, "/chat/create": ok, "/chat/index": ok,
		"/chat/read": ok, "/chat/update": ok, "/chat/delete": ok, "/chat/user/add": ok, "/chat/user/remove": ok,
		"/chat/prompt": ok, "/chat/stop": ok, "/group/create": ok, "/group/index": ok, "/group/read": ok,
		"/group/update": ok, "/group/delete": ok, "/group/members": ok, "/group/members/add": ok,
		"/group/members/remove": ok,
	})
	ctx := context.Background()
	tests := []struct {
		call func() error
		path string
		want string
	}{
		{func() error { _, err := client.Users.Read(ctx, ""); return err }, "/user/read", ``},
		{func() error { _, err := client.Users.Read(ctx, "u"); return err }, "/user/read", `id=u`},
		{func() error { _, err := client.Users.ReadByName(ctx, "ä b"); return err }, "/user/read", `username=%C3%A4+b`},
		{func() error { _, err := client.Users.Update(ctx, UserUpdate{FirstName: String("")}); return err },
			"/user/update", `{"first_name":""}`},
		{func() error { return client.Users.ChangePassword(ctx, "a", "b") },
			"/user/password/update", `{"new_password":"b","old_password":"a"}`},
		{func() error { _, err := client.Chats.Create(ctx, NewChat{}); return err }, "/chat/create", `{}`},
		{func() error { _, err := client.Chats.Create(ctx, NewChat{"n", "m", "g"}); return err },
			"/chat/create", `{"group_id":"g","model":"m","name":"n"}`},
		{func() error { _, err := client.Chats.List(ctx, "g", Page{Limit: 2, After: "a"}); return err },
			"/chat/index", `after=a&group_id=g&limit=2`},
		{func() error { _, err := client.Chats.Read(ctx, "c", Page{Before: "b"}); return err },
			"/chat/read", `before=b&id=c`},
		{func() error { _, err := client.Chats.Update(ctx, "c", ChatUpdate{Model: String("m")}); return err },
			"/chat/update", `{"id":"c","model":"m"}`},
		{func() error { return client.Chats.Delete(ctx, "c") }, "/chat/delete", `{"id":"c"}`},
		{func() error { return client.Chats.AddUser(ctx, "c", "u") }, "/chat/user/add", `{"id":"c","user_id":"u"}`},
		{func() error { return client.Chats.RemoveUser(ctx, "c", "u") }, "/chat/user/remove", `{"id":"c","user_id":"u"}`},
		{func() error {
			_, err := client.Chats.Prompt(ctx, "c", "p", OffTheRecord(), WithContextMessages(0))
			return err
		},
			"/chat/prompt", `{"context":0,"id":"c","otr":true,"prompt":"p"}`},
		{func() error { _, err := client.Chats.Stop(ctx, "c", "m"); return err },
			"/chat/stop", `{"id":"c","message_id":"m"}`},
		{func() error { _, err := client.Groups.Create(ctx, NewGroup{Name: "n"}); return err },
			"/group/create", `{"name":"n"}`},
		{func() error { _, err := client.Groups.Read(ctx, "g", Page{Limit: 1}); return err }, "/group/read", `id=g&limit=1`},
		{func() error {
			_, err := client.Groups.Update(ctx, "g", GroupUpdate{Description: String(""), OwnerID: String("o")})
			return err
		}, "/group/update", `{"description":"","id":"g","owner_id":"o"}`},
		{func() error { return client.Groups.Delete(ctx, "g") }, "/group/delete", `{"id":"g"}`},
		{func() error { return client.Groups.AddMembers(ctx, "g", "a", "b") },
			"/group/members/add", `{"id":"g","user_ids":["a","b"]}`},
		{func() error { return client.Groups.RemoveMembers(ctx, "g", "a") },
			"/group/members/remove", `{"id":"g","user_ids":["a"]}`},
	}
	for _, test := range tests {
		must(t, test.call())
		requests := fake.of(test.path)
		last := requests[len(requests)-1]
		got := last.query
		if strings.HasPrefix(test.want, "{") {
			encoded, _ := json.Marshal(last.fields)
			got = string(encoded)
		}
		check(t, got == test.want, "%s got %s", test.path, got)
	}
}
