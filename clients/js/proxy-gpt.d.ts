/** Options of a client. Times are seconds. */
export interface ClientOptions {
  /** The token of a session. `signUp` and `logIn` set it, too. */
  token?: string;
  /** How often a read or a prompt is repeated after a failure that may pass. Default: 2. */
  maxRetries?: number;
  /** The time for a call that is not a stream, its repetitions included. Default: 600. */
  timeout?: number;
  /** The silence after which a stream is opened anew. Default: 60. */
  silenceTimeout?: number;
  /** For a page of the server's own origin: the session is in a cookie, and no token is kept. */
  cookies?: boolean;
  /** What sends requests. Default: the global `fetch`. */
  fetch?: typeof fetch;
}

/** What a server may tell anybody about a user. */
export interface PublicUser {
  id: string;
  username: string;
  first_name: string;
  last_name: string;
}

/** A user as the user itself sees it. */
export interface User extends PublicUser {
  role: string;
  created_at: string;
  updated_at: string;
  /** The ids of the groups that the user is a member of. */
  groups: string[];
}

export interface Session {
  id: string;
  created_at: string;
  last_used_at: string;
  expires_at: string;
}

export interface Chat {
  id: string;
  name: string;
  model: string;
  user_id: string;
  group_id: string | null;
  created_at: string;
  updated_at: string;
}

export type MessageState = "pending" | "streaming" | "done" | "stopped" | "failed";

/** A prompt and its reply. */
export interface Message {
  id: string;
  chat_id: string;
  user_id: string;
  /** The author's present name; null when the user is gone. */
  username: string | null;
  group_id: string | null;
  prompt: string;
  reply: string;
  model: string;
  /** Whether the message is off the record. */
  otr: boolean;
  state: MessageState;
  error: { code: string; message: string; upstream_message?: string } | null;
  usage: { prompt_tokens: number | null; completion_tokens: number | null } | null;
  created_at: string;
  updated_at: string;
}

/** What a frame has of a message whose reply is running: `reply` is new text. */
export interface PartialMessage {
  id: string;
  chat_id: string;
  user_id: string;
  /** A prompt over 1 KiB stands in the first frame and the last one alone. */
  prompt?: string;
  reply: string;
  state: MessageState;
}

export interface Group {
  id: string;
  name: string;
  description: string;
  owner_id: string;
  created_at: string;
  updated_at: string;
}

/** Which part of a list is wanted: without an anchor the newest elements, at most `limit` (100). */
export interface Page {
  limit?: number;
  /** The page ends before the element with this id. */
  before?: string;
  /** The page begins after the element with this id; not together with `before`. */
  after?: string;
}

export interface Login {
  token: string;
  user: User;
}

export interface Answer {
  message: Message;
  reply: string;
}

/** One step of a streamed reply. */
export interface Delta {
  /** The text that is new, empty at most in the last delta. */
  text: string;
  /** The message so far, with the whole text so far in `reply`. */
  message: Message;
  /** Whether this is the last delta: the message is then as it is stored. */
  done: boolean;
}

/** One event of a chat. `id` is what `watch` goes on after. */
export type Frame =
  | { kind: "message"; id: string; message: PartialMessage; partial: true }
  | { kind: "message"; id: string; message: Message; partial: false }
  | { kind: "reset"; id: string };

export interface PromptOptions {
  /** How many earlier messages the model is told. */
  context?: number;
  /** Stores a note off the record, which gets no reply. */
  otr?: boolean;
  /** Answers at once; the reply comes to those who watch the chat. */
  stream?: boolean;
  /** The same key brings the same message again. Default: a new key for each prompt. */
  idempotencyKey?: string;
  /** Ends the wait; the reply goes on. */
  signal?: AbortSignal;
}

export interface StreamOptions {
  context?: number;
  idempotencyKey?: string;
  /** Stops the reply at the upstream and ends the stream. */
  signal?: AbortSignal;
}

export interface WatchOptions {
  /** The id of the last frame that the caller knows. */
  after?: string;
  signal?: AbortSignal;
  /** Called whenever a subscription stands. */
  onOpen?: () => void;
  /** Called whenever the connection of a subscription is lost. */
  onClose?: () => void;
}

/** A failed call. */
export class ProxyGPTError extends Error {
  /** The HTTP status; 0 where the server gave no answer. */
  readonly status: number;
  /** The server's code; "connection", "timeout" or "unexpected_answer" where it gave none. */
  readonly code: string;
  /** The parameter that is wrong. */
  readonly param: string | null;
  /** Finds the request in the server's log. */
  readonly requestId: string | null;
  /** The seconds after which the call may succeed. */
  readonly retryAfter: number | null;
  /** What the upstream said about a failed reply. */
  readonly upstreamMessage: string | null;
}

export interface Users {
  signUp(fields: {
    username: string;
    password: string;
    firstName?: string;
    lastName?: string;
  }): Promise<Login>;
  logIn(fields: { username: string; password: string }): Promise<Login>;
  logOut(): Promise<void>;
  session(): Promise<{ user: User; session: Session }>;
  read(which?: { id?: string; username?: string }): Promise<User | PublicUser>;
  update(fields: { username?: string; firstName?: string; lastName?: string }): Promise<User>;
  changePassword(fields: { oldPassword: string; newPassword: string }): Promise<void>;
}

export interface Chats {
  create(fields?: { name?: string; model?: string; groupId?: string }): Promise<Chat>;
  list(page?: Page & { groupId?: string }): Promise<{ chats: Chat[]; has_more: boolean }>;
  /** Newest first. */
  listAll(options?: { groupId?: string; limit?: number }): AsyncGenerator<Chat, void, undefined>;
  read(
    id: string,
    page?: Page,
  ): Promise<{ chat: Chat; users: PublicUser[]; messages: Message[]; has_more: boolean }>;
  /** Newest first. */
  messagesAll(id: string, options?: { limit?: number }): AsyncGenerator<Message, void, undefined>;
  update(id: string, fields: { name?: string; model?: string }): Promise<Chat>;
  delete(id: string): Promise<void>;
  /** `user` is an id or a name. */
  addUser(id: string, user: string): Promise<void>;
  removeUser(id: string, user: string): Promise<void>;
  prompt(id: string, text: string, options?: PromptOptions): Promise<Answer>;
  stream(id: string, text: string, options?: StreamOptions): AsyncGenerator<Delta, void, undefined>;
  watch(id: string, options?: WatchOptions): AsyncGenerator<Frame, void, undefined>;
  stop(id: string, messageId: string): Promise<Answer>;
}

export interface Groups {
  create(fields: { name: string; description?: string }): Promise<Group>;
  list(page?: Page): Promise<{ groups: Group[]; has_more: boolean }>;
  /** Newest first. */
  listAll(options?: { limit?: number }): AsyncGenerator<Group, void, undefined>;
  read(
    id: string,
    page?: Page,
  ): Promise<Group & { group: Group; members: PublicUser[]; has_more: boolean }>;
  update(
    id: string,
    fields: { name?: string; description?: string; ownerId?: string },
  ): Promise<Group>;
  delete(id: string): Promise<void>;
  members(id: string, page?: Page): Promise<{ users: PublicUser[]; has_more: boolean }>;
  membersAll(id: string, options?: { limit?: number }): AsyncGenerator<PublicUser, void, undefined>;
  /** `users` are ids or names: all of them or none. */
  addMembers(id: string, users: string[]): Promise<void>;
  removeMembers(id: string, users: string[]): Promise<void>;
}

/** The API of one server, for one user. */
export class ProxyGPT {
  constructor(url: string | URL, options?: ClientOptions);
  readonly users: Users;
  readonly chats: Chats;
  readonly groups: Groups;
  /** The token of the session; null before a log-in and after a log-out. */
  readonly token: string | null;
  /** What OpenAI's own client takes to reach the server. */
  readonly openai: { baseURL: string; apiKey: string };
}
