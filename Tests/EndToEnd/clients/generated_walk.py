"""The specification's walk with the client that openapi-python-client makes of docs/openapi.json.

Run with the folder of the generated package in PYTHONPATH; PROXY_GPT_URL is the server. Prints one word at the end.
"""

import os
import sys

from proxy_gpt_client import AuthenticatedClient, Client
from proxy_gpt_client.api.chats import (
    add_chat_user,
    create_chat,
    delete_chat,
    index_chats,
    prompt,
    read_chat,
    update_chat,
)
from proxy_gpt_client.api.groups import (
    add_members,
    create_group,
    delete_group,
    index_groups,
    index_members,
    read_group,
    remove_members,
)
from proxy_gpt_client.api.operators import read_live
from proxy_gpt_client.api.users import log_in, log_out, read_session, read_user, sign_up, update_user
from proxy_gpt_client.models import (
    AddChatUserRequest,
    AddMembersRequest,
    Chat,
    ChatWithMessages,
    CreateChatRequest,
    CreateGroupRequest,
    DeleteChatRequest,
    DeleteGroupRequest,
    Error,
    Group,
    LogInRequest,
    LogOutRequest,
    OwnUser,
    PromptRequest,
    RemoveMembersRequest,
    SignUpRequest,
    UpdateChatRequest,
    UpdateUserRequest,
    User,
)

url = os.environ["PROXY_GPT_URL"]
password = "correct horse battery"


def signed_up(name):
    """A user's own client, and the user."""
    answer = sign_up.sync(client=Client(url), body=SignUpRequest(username=name, password=password))
    return AuthenticatedClient(url, token=answer.token), answer.user


def main():
    asim, user = signed_up("asim-of-the-walk")
    mara, other = signed_up("mara-of-the-walk")
    assert read_live.sync(client=Client(url)).status == "live"
    again = log_in.sync(client=Client(url), body=LogInRequest(username=user.username, password=password))
    assert again.user.id == user.id

    chat = create_chat.sync(client=asim, body=CreateChatRequest(name="foobar", model="gpt-3"))
    assert isinstance(chat, Chat) and (chat.name, chat.user_id, chat.group_id) == ("foobar", user.id, None)
    assert isinstance(read_chat.sync(client=mara, id=chat.id), Error)
    add_chat_user.sync(client=asim, body=AddChatUserRequest(id=chat.id, user_id=str(other.id)))
    reply = prompt.sync(client=asim, body=PromptRequest(id=chat.id, prompt="tell me about spain"))
    assert reply.reply.startswith("echo: tell me about spain") and reply.message.state == "done"
    seen = read_chat.sync(client=mara, id=chat.id)
    assert isinstance(seen, ChatWithMessages)
    assert [message.id for message in seen.messages] == [reply.message.id]
    assert {member.username for member in seen.users} == {user.username, other.username}
    assert update_chat.sync(client=asim, body=UpdateChatRequest(id=chat.id, name="trip")).name == "trip"
    assert [entry.id for entry in index_chats.sync(client=mara).chats] == [chat.id]

    group = create_group.sync(client=asim, body=CreateGroupRequest(name="travellers", description="trips"))
    assert isinstance(group, Group) and group.description == "trips"
    body = AddMembersRequest(id=group.id, user_ids=[str(other.id)])
    add_members.sync(client=asim, body=body)
    assert len(index_members.sync(client=mara, id=group.id).users) == 2
    assert read_group.sync(client=mara, id=group.id).owner_id == user.id
    assert [entry.id for entry in index_groups.sync(client=mara).groups] == [group.id]
    shared = create_chat.sync(client=asim, body=CreateChatRequest(name="shared", group_id=group.id))
    told = prompt.sync(client=mara, body=PromptRequest(id=shared.id, prompt="hello all", otr=True))
    assert told.message.otr and told.reply == "" and told.message.group_id == group.id

    known = read_user.sync(client=mara, id=user.id)
    assert isinstance(known, User) and not isinstance(known, OwnUser)
    assert update_user.sync(client=asim, body=UpdateUserRequest(first_name="Asim")).first_name == "Asim"
    assert read_session.sync(client=asim).user.first_name == "Asim"
    remove_members.sync(client=asim, body=RemoveMembersRequest(id=group.id, user_ids=[str(other.id)]))
    assert isinstance(read_chat.sync(client=mara, id=shared.id), Error)
    delete_chat.sync(client=asim, body=DeleteChatRequest(id=chat.id))
    delete_group.sync(client=asim, body=DeleteGroupRequest(id=group.id))
    assert index_groups.sync(client=asim).groups == []
    log_out.sync(client=mara, body=LogOutRequest())
    assert isinstance(read_session.sync(client=mara), Error)
    print("walked")


if __name__ == "__main__":
    sys.exit(main())
