"""A real browser: headless Chromium, driven over its DevTools protocol.

Each `Page` has a profile of its own (cookies, storage), so two pages are two people. It is used
as people use it: by keys, by the mouse, and by what the accessibility tree calls things. It
keeps what the browser asked for and what it complained about.
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from processes import Processes, wait_for
from websockets.sync.client import connect

# Key, code and text of what has no text of its own, or another one than its name.
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Space": (32, " "),
    "ArrowDown": (40, ""),
}
SHIFT = 8

CONTROLS = {"button", "link", "textbox", "checkbox", "combobox", "listbox", "searchbox"}


def chromium_binary():
    return shutil.which("chromium")


class Browser:
    """One Chromium process; its pages are gone when the `with` block ends."""

    def __enter__(self):
        self._directory = tempfile.mkdtemp(prefix="proxy-gpt-browser-")
        self._processes = Processes(self._directory)
        self._opened = contextlib.ExitStack()
        self._socket, self._number, self._pages = None, 0, {}
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._opened.close()
        self._processes.end(self._process)
        self._processes.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self):
        arguments = [chromium_binary(), "--headless=new", "--remote-debugging-port=0"]
        arguments += [f"--user-data-dir={self._directory}/profile", "--disable-gpu"]
        # Nothing but the page itself may go out to the network.
        arguments += ["--disable-background-networking", "--disable-component-update"]
        arguments += ["--disable-sync", "--no-first-run", "--disable-dev-shm-usage"]
        # A page that no window shows would have its timers slowed down.
        arguments += ["--disable-background-timer-throttling", "--disable-renderer-backgrounding"]
        arguments += ["--disable-backgrounding-occluded-windows"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        self._process = self._processes.start(
            arguments, "chromium", log=f"{self._directory}/log", stdout=subprocess.DEVNULL
        )
        file = pathlib.Path(self._directory, "profile", "DevToolsActivePort")

        def written():
            words = file.read_text().split() if file.exists() else []
            return words if len(words) == 2 else None

        port, path = wait_for(written, "Chromium", 60)
        address = f"ws://127.0.0.1:{port}{path}"
        connection = connect(address, max_size=None, compression=None)
        self._socket = self._opened.enter_context(connection)

    def page(self, address, width=1100, height=800):
        """A new page with a profile of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        fields = {"url": "about:blank", "browserContextId": context}
        target = self.call("Target.createTarget", **fields)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        self._pages[attached["sessionId"]] = page
        page.begin(address, width, height)
        return page

    def call(self, method, session=None, **parameters):
        """One command and its result; events that come meanwhile go to their pages."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            page = self._pages.get(answer.get("sessionId"))
            if page and "method" in answer:
                page.happened(answer["method"], answer["params"])


class Page:
    """One tab in a profile of its own."""

    def __init__(self, browser, session):
        self._browser, self._session = browser, session
        self.requested, self.complaints = [], []
        # More that may be listened to: what to call with an event's values.
        self.on = {}

    def call(self, method, **parameters):
        return self._browser.call(method, self._session, **parameters)

    def close(self):
        self.call("Page.close")

    def begin(self, address, width, height):
        for domain in ("Page", "Runtime", "Log", "Network", "Audits", "Accessibility", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.resize(width, height)
        self.go(address)

    def happened(self, event, values):
        """Keeps what was asked of the network, and every complaint of the browser."""
        if event in self.on:
            self.on[event](values)
        if event == "Network.requestWillBeSent":
            self.requested.append(values["request"]["url"])
        elif event == "Log.entryAdded" and values["entry"]["level"] in ("warning", "error"):
            entry = values["entry"]
            self.complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(values["exceptionDetails"])[:1000])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {json.dumps(values['args'])[:1000]}")
        elif event == "Audits.issueAdded":
            self.complaints.append(f"issue: {json.dumps(values['issue'])[:1000]}")

    # Looking

    def go(self, address):
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def resize(self, width, height):
        fields = {"deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, **fields)

    def prefer(self, **features):
        """Media features such as prefers_color_scheme="dark"."""
        listed = [{"name": name.replace("_", "-"), "value": features[name]} for name in features]
        self.call("Emulation.setEmulatedMedia", features=listed)

    def evaluate(self, expression):
        done = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in done:
            raise AssertionError(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, expression, cap=15):
        """Waits until a JavaScript expression is true."""
        wait_for(lambda: self.evaluate(f"Boolean({expression})"), expression, cap)

    def text(self):
        """What is to be read on the page."""
        return self.evaluate("document.body.innerText")

    def until_shown(self, text, cap=15):
        wait_for(lambda: text in self.text(), f"`{text}` on the page", cap)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot")["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    # Things by their roles and names, as assistive technology finds them

    def tree(self):
        """(role, name, properties, backend id) of all that the accessibility tree holds."""
        nodes = []
        for node in self.call("Accessibility.getFullAXTree")["nodes"]:
            if node["ignored"]:
                continue
            properties = {each["name"]: each["value"].get("value") for each in node["properties"]}
            name = node.get("name", {}).get("value", "")
            nodes.append((node["role"]["value"], name, properties, node.get("backendDOMNodeId")))
        return nodes

    def find(self, role, name):
        """The backend ids of the things of this role and name."""
        return [node[3] for node in self.tree() if node[:2] == (role, name)]

    def until_found(self, role, name):
        return wait_for(lambda: self.find(role, name), f"{role} `{name}`")[0]

    def focused(self):
        """(role, name) of what the keyboard acts on."""
        for role, name, properties, _ in self.tree():
            if properties.get("focused") and role != "RootWebArea":
                return role, name
        return None

    # Acting

    def click(self, role, name):
        """A click of the mouse in the middle of the thing of this role and name.

        Of several the last one: what a dialog holds comes last.
        """
        self.until_found(role, name)
        node = self.find(role, name)[-1]
        self.call("DOM.scrollIntoViewIfNeeded", backendNodeId=node)
        quad = self.call("DOM.getContentQuads", backendNodeId=node)["quads"][0]
        place = {"x": (quad[0] + quad[4]) / 2, "y": (quad[1] + quad[5]) / 2}
        for kind in ("mousePressed", "mouseReleased"):
            fields = {"type": kind, "button": "left", "clickCount": 1, **place}
            self.call("Input.dispatchMouseEvent", **fields)

    def press(self, key, shift=False):
        number, text = KEYS[key]
        named = " " if key == "Space" else key
        fields = {"key": named, "code": key, "windowsVirtualKeyCode": number}
        fields["modifiers"] = SHIFT if shift else 0
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **fields)
        self.call("Input.dispatchKeyEvent", type="keyUp", **fields)

    def tab_to(self, role, name, shift=False):
        """Presses Tab until the focus is there."""
        passed = []
        for _ in range(60):
            self.press("Tab", shift)
            passed.append(self.focused())
            if passed[-1] == (role, name):
                return
        raise AssertionError(f"Tab does not come to {role} `{name}`, but to {passed}")

    def type(self, text):
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def fill(self, name, text, role="textbox"):
        """Text into the field of this name, in place of what stands there."""
        node = self.until_found(role, name)
        self.call("DOM.focus", backendNodeId=node)
        self.evaluate("document.activeElement.select()")
        self.type(text)
