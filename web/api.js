// The API, for the session in the cookie that scripts cannot read: no token is kept here.

import { ProxyGPT } from "./proxy-gpt.js";

// Wherever this file is, the API is one directory above: a front may have us below a path of its own.
export const gpt = new ProxyGPT(new URL("..", import.meta.url), { cookies: true });
