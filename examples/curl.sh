#!/bin/bash
# The whole API by curl: users, chats, a streamed reply, groups. Each command is shown as it could be typed, then its
# answer; the first that fails ends the script. PROXY_GPT_URL is the server, http://localhost:8080 without.
set -euo pipefail

URL=${PROXY_GPT_URL:-http://localhost:8080}
NAME=walk-$(date +%s)-$$
PASSWORD='correct horse battery'
ANSWER=

# Shows a command, runs it, and keeps its answer.
run() {
    printf '\n$ %s\n' "$1"
    ANSWER=$(eval "$1") || { echo "$ANSWER"; echo "failed: $1" >&2; exit 1; }
    echo "$ANSWER"
}

# The first text of this name in the last answer, which is JSON.
member() {
    grep -o "\"$1\": *\"[^\"]*" <<< "$ANSWER" | head -n 1 | cut -d '"' -f 4
}

# A refusal of the server is a failure of curl.
curl() {
    command curl -sS --fail-with-body "$@"
}

echo "URL=$URL NAME=$NAME"

echo; echo "# Users"
run 'curl $URL/user/signup -d "username=$NAME" --data-urlencode "password=$PASSWORD" -d first_name=Ada'
USER_ID=$(member id)
run 'curl $URL/user/login -d "username=$NAME" --data-urlencode "password=$PASSWORD"'
TOKEN=$(member token)
AUTH="Authorization: Bearer $TOKEN"
run 'curl -H "$AUTH" $URL/user/session'
run 'curl -H "$AUTH" $URL/user/update -d last_name=Lovelace'
run 'curl -H "$AUTH" "$URL/user/read?id=$USER_ID"'

echo; echo "# Chats"
run 'curl -H "$AUTH" $URL/chat/create -d "name=foobar&model=gpt-3"'
CHAT=$(member id)
run 'curl -H "$AUTH" $URL/chat/prompt -d "id=$CHAT&prompt=tell+me+about+spain"'
run 'curl -H "$AUTH" $URL/chat/prompt -d "id=$CHAT&prompt=between+us&otr=true"'
run 'curl -H "$AUTH" "$URL/chat/read?id=$CHAT&limit=10"'
run 'curl -H "$AUTH" "$URL/chat/index?limit=10"'
run 'curl -H "$AUTH" $URL/chat/update -d "id=$CHAT&name=Spain"'

echo; echo "# A streamed reply: one curl subscribes to the chat, another one prompts"
printf '\n$ %s\n' 'curl -sN -H "$AUTH" $URL/chat/stream -d "id=$CHAT" &'
exec 3< <(exec curl -sN -H "$AUTH" "$URL/chat/stream" -d "id=$CHAT")
STREAM=$!
trap 'kill $STREAM 2> /dev/null || true' EXIT
# The first line is there once the subscription stands.
read -r -t 10 -u 3 || { echo "failed: no stream" >&2; exit 1; }
run 'curl -H "$AUTH" $URL/chat/prompt -d "id=$CHAT&prompt=and+portugal&stream=true"'
MESSAGE=$(member id)
# Frames come until the one with the whole message.
while read -r -t 60 -u 3 LINE || { echo "failed: the stream broke off" >&2; exit 1; }; do
    [ -z "$LINE" ] || echo "$LINE"
    [[ $LINE =~ \"partial\":\ *false ]] && break
done
run 'curl -H "$AUTH" $URL/chat/stop -d "id=$CHAT&message_id=$MESSAGE"'

echo; echo "# Groups"
run 'curl $URL/user/signup -d "username=$NAME-friend" --data-urlencode "password=$PASSWORD"'
FRIEND=$(member id)
FRIEND_AUTH="Authorization: Bearer $(member token)"
run 'curl -H "$AUTH" $URL/chat/user/add -d "chat_id=$CHAT&user_id=$FRIEND"'
run 'curl -H "$AUTH" $URL/group/create -d "name=foobar&description=my+awesome+group"'
GROUP=$(member id)
run 'curl -H "$AUTH" $URL/group/members/add -d "group_id=$GROUP&user_ids=$FRIEND"'
run 'curl -H "$AUTH" "$URL/group/members?id=$GROUP"'
run 'curl -H "$FRIEND_AUTH" "$URL/group/index"'
run 'curl -H "$AUTH" $URL/chat/create -d "name=Together&group_id=$GROUP"'
SHARED=$(member id)
run 'curl -H "$FRIEND_AUTH" $URL/chat/prompt -d "id=$SHARED&prompt=hello+all"'
run 'curl -H "$AUTH" "$URL/chat/read?id=$SHARED"'
run 'curl -H "$AUTH" $URL/group/members/remove -d "group_id=$GROUP&user_ids=$FRIEND"'
run 'curl -H "$AUTH" $URL/group/delete -d "id=$GROUP"'

echo; echo "# The model's server, through the same address"
run 'curl -H "$AUTH" $URL/v1/models'

echo; echo "# The end"
run 'curl -H "$AUTH" $URL/chat/delete -d "id=$CHAT"'
run 'curl -H "$AUTH" $URL/user/logout'
echo; echo "All of it worked."
