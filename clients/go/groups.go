package proxygpt

import "context"

// Groups has the calls about groups.
type Groups struct{ client *Client }

// NewGroup is what a new group needs. The description may be "".
type NewGroup struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// GroupUpdate changes the fields that are not nil. OwnerID is the id or name of the member who owns the group from then
// on.
type GroupUpdate struct {
	Name        *string
	Description *string
	OwnerID     *string
}

// Create makes a group, whose owner and first member is the client's user.
func (g *Groups) Create(ctx context.Context, group NewGroup) (*Group, error) {
	return result[Group](ctx, g.client, request{path: "/group/create", body: group})
}

// List reads a page of the groups of the client's user.
func (g *Groups) List(ctx context.Context, page Page) (*GroupPage, error) {
	return result[GroupPage](ctx, g.client, request{path: "/group/index", query: page.values(nil)})
}

// ListAll walks over all groups of the client's user, newest first.
func (g *Groups) ListAll(ctx context.Context) *Iterator[Group] {
	return newIterator(ctx, func(group Group) string { return group.ID },
		func(ctx context.Context, before string) ([]Group, bool, error) {
			page, err := g.List(ctx, Page{Before: before})
			if err != nil {
				return nil, false, err
			}
			return page.Groups, page.HasMore, nil
		})
}

// Read reads a group and a page of its members.
func (g *Groups) Read(ctx context.Context, id string, page Page) (*GroupDetails, error) {
	return result[GroupDetails](
		ctx, g.client, request{path: "/group/read", query: page.values(map[string]string{"id": id})})
}

// Update changes a group.
func (g *Groups) Update(ctx context.Context, id string, update GroupUpdate) (*Group, error) {
	body := struct {
		ID          string  `json:"id"`
		Name        *string `json:"name,omitempty"`
		Description *string `json:"description,omitempty"`
		OwnerID     *string `json:"owner_id,omitempty"`
	}{id, update.Name, update.Description, update.OwnerID}
	return result[Group](ctx, g.client, request{path: "/group/update", body: body})
}

// Delete deletes a group with its chats.
func (g *Groups) Delete(ctx context.Context, id string) error {
	return g.client.call(ctx, request{path: "/group/delete", body: map[string]string{"id": id}}, nil)
}

// Members reads a page of a group's members.
func (g *Groups) Members(ctx context.Context, id string, page Page) (*UserPage, error) {
	return result[UserPage](
		ctx, g.client, request{path: "/group/members", query: page.values(map[string]string{"id": id})})
}

// MembersAll walks over all members of a group.
func (g *Groups) MembersAll(ctx context.Context, id string) *Iterator[User] {
	return newIterator(ctx, func(user User) string { return user.ID },
		func(ctx context.Context, before string) ([]User, bool, error) {
			page, err := g.Members(ctx, id, Page{Before: before})
			if err != nil {
				return nil, false, err
			}
			return page.Users, page.HasMore, nil
		})
}

// AddMembers makes users, by id or name, members of a group: all of them or none.
func (g *Groups) AddMembers(ctx context.Context, id string, users ...string) error {
	return g.changeMembers(ctx, "/group/members/add", id, users)
}

// RemoveMembers ends the membership of users, by id or name: all of them or none.
func (g *Groups) RemoveMembers(ctx context.Context, id string, users ...string) error {
	return g.changeMembers(ctx, "/group/members/remove", id, users)
}

func (g *Groups) changeMembers(ctx context.Context, path, id string, users []string) error {
	body := map[string]any{"id": id, "user_ids": users}
	return g.client.call(ctx, request{path: path, body: body}, nil)
}
