"""Cookies within one chain of redirects: some servers set one, and redirect until it comes back."""

from __future__ import annotations

import urllib.request
from email.message import Message
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from ingest.images.whatwg_url import Url

_MOST_BYTES = 8192  # of a Cookie header, more than which servers refuse


class ChainCookies:
    """The cookies that the answers of one chain of redirects set, each for the hosts that it is for (RFC 6265)."""

    def __init__(self) -> None:
        self._jar: CookieJar | None = None

    def keep(self, url: Url, response: BaseHTTPResponse) -> None:
        """Note the cookies of an answer."""
        values = response.headers.getlist("Set-Cookie")
        if not values:
            return
        if self._jar is None:
            self._jar = CookieJar()
        headers = Message()
        for value in values:
            headers["Set-Cookie"] = value
        self._jar.extract_cookies(_Answer(headers), _request(url))  # type: ignore[arg-type]

    def add_to(self, headers: dict[str, str], url: Url) -> dict[str, str]:
        """Return the headers of a request, with the cookies for `url`."""
        if self._jar is None:
            return headers
        request = _request(url)
        self._jar.add_cookie_header(request)
        found = request.get_header("Cookie", "")
        own = next((name for name in headers if name.lower() == "cookie"), "Cookie")
        cookies = "; ".join(filter(None, (headers.get(own, ""), found)))
        return {**headers, own: cookies} if found and len(cookies) <= _MOST_BYTES else headers


def _request(url: Url) -> urllib.request.Request:
    return urllib.request.Request(str(url))  # noqa: S310  nothing is opened; the jar reads its host and path


class _Answer:
    """What the jar needs of an answer."""

    def __init__(self, headers: Message) -> None:
        self._headers = headers

    def info(self) -> Message:
        return self._headers
