"""The APIs of the vendors that are asked, as their documents describe them. What no document says is assumed, and said.

Documents: see the modules in `receiver/vendors` that ask.
"""

import csv
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.polling.server import Asked, Says, json

USER, PASSWORD = "acme", "pass word+&"
JWT = "JWT eyJhbGciOiJIUzI1NiJ9.e30.abc"
KEYID = "0123456789abcdef"
ACCESS_TOKEN = "5b02112fb7-access"
CLIENT = {"client_id": "client", "client_secret": "client-secret"}


@dataclass
class SendSms:
    """`inbound` by id; of more than fifty the oldest come, in an answer from the newest down (assumed)."""

    inbound: dict[int, Mapping[str, str]] = field(default_factory=dict)
    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    access: str = "access-1"
    refresh: str = "refresh-1"
    grants: int = 1

    def receive(self, number: int, text: str = "DA", sender: str = "40727363767") -> None:
        self.inbound[number] = {
            "id": str(number), "created": "2026-05-03 14:07:55", "from": sender, "to": "1898", "data": text,
            "charset": "UTF-8",
        }  # fmt: skip

    def answer(self, asked: Asked) -> Says:
        match asked.path:
            case "/json":
                return self._classic(asked)
            case "/integration/powerautomate/message_status":
                return self._connector(asked)
            case "/oauth2/token" | "/oauth2/refresh_token":
                return self._grant(asked)
        return Says(404)

    def _classic(self, asked: Asked) -> Says:
        if (asked.query.get("username"), asked.query.get("password")) != (USER, PASSWORD):
            return json({"status": -8, "message": "Authentication failed", "details": ""})
        match asked.query.get("action"):
            case "messages_get":
                newer = sorted(number for number in self.inbound if number > int(asked.query["last_id"]))[:50]
                return json({"status": 0, "message": "OK", "details": [self.inbound[it] for it in reversed(newer)]})
            case "message_status":
                return self._state(asked.query["message_id"])
        return json({"status": -2, "message": "No such action", "details": ""})

    def _connector(self, asked: Asked) -> Says:
        if asked.headers.get("authorization") != f"Bearer {self.access}":
            return json({"error": "invalid_token"}, 401)
        return self._state(asked.json["message_id"])

    def _state(self, message_id: str) -> Says:
        if message_id not in self.states:
            return json({"status": -1, "message": "Message does not exist", "details": ""})
        return json({"status": 0, "message": "OK", "details": self.states[message_id]})

    def _grant(self, asked: Asked) -> Says:
        form = asked.form
        if {name: form[name] for name in CLIENT} != CLIENT:
            return json({"error": "invalid_client"}, 401)
        if asked.path == "/oauth2/refresh_token" and form["refresh_token"] != self.refresh:
            return json({"error": "invalid_grant"}, 400)
        self.grants += 1
        self.access, self.refresh = f"access-{self.grants}", f"refresh-{self.grants}"
        return json({"access_token": self.access, "refresh_token": self.refresh, "expires_in": 3600})


def state(status: int, **changed: Any) -> Mapping[str, Any]:
    return {
        "status": status, "message": "Delivered", "cost": 0.039, "parts": 1,
        "timestamp_created": "2026-05-03 14:05:10", "timestamp_delivered": "2026-05-03 14:05:14",
        "timestamp_failed": "", "failover_id": "", "ctype": "1", **changed,
    }  # fmt: skip


@dataclass
class TheSmsWorks:
    """Searches go by `created`, oldest first (assumed)."""

    messages: list[Mapping[str, Any]] = field(default_factory=list)

    def receive(self, message_id: str, created: str, text: str = "Thanks, see you at 3", **changed: Any) -> None:
        self.messages.append(
            {"messageid": message_id, "status": "INCOMING", "sender": "447700900123", "destination": 447700900456,
             "content": text, "created": created, "modified": created, "keyword": "", "customerid": "c", **changed}
        )  # fmt: skip

    def sent(self, message_id: str, status: str, **changed: Any) -> None:
        self.messages[:] = [it for it in self.messages if it["messageid"] != message_id]
        self.messages.append(
            {"messageid": message_id, "status": status, "sender": "EXAMPLE", "destination": 447700900123,
             "content": "Your code", "created": "2026-11-20T12:05:10.214Z", "modified": "2026-11-20T12:05:13.871Z",
             "customerid": "c", "failurereason": {"code": 0, "details": "", "permanent": False}, **changed}
        )  # fmt: skip

    def answer(self, asked: Asked) -> Says:
        if asked.headers.get("authorization") != JWT:
            return json({"message": "Invalid token"}, 401)
        if asked.method == "POST" and asked.path == "/messages":
            return self._search(asked.json)
        found = [it for it in self.messages if asked.path == f"/messages/{it['messageid']}"]
        return json(found[0]) if found else json({"message": "not found"}, 404)

    def _search(self, query: Mapping[str, Any]) -> Says:
        fitting = [
            it
            for it in self.messages
            if it["status"] == query["status"] and query["from"] <= it["created"] < query["to"]
        ]
        fitting.sort(key=lambda it: str(it["created"]))
        return json(fitting[query["skip"] :][: query["limit"]])


@dataclass
class ISendPro:
    """Both files begin with the names of their columns, apart by semicolons (assumed)."""

    columns: Sequence[str] = ("date", "num", "emetteur", "tracker", "statut")
    sent: list[Sequence[str]] = field(default_factory=list)
    black_list: list[str] = field(default_factory=list)

    def answer(self, asked: Asked) -> Says:
        if asked.query.get("keyid") != KEYID:
            return json({"etat": {"etat": [{"code": "2", "message": "keyid inconnu"}]}}, 400)
        if asked.method == "GET" and asked.path == "/campagne" and asked.query["rapportCampagne"] == "1":
            return zipped([self.columns, *self.sent])
        if asked.method == "POST" and asked.path == "/getlistenoire" and asked.query["getListeNoire"] == "1":
            return zipped([["numero"], *([number] for number in self.black_list)])
        return Says(404)


def zipped(rows: Sequence[Sequence[str]], name: str = "rapport.csv") -> Says:
    return Says(200, zip_of(rows, name), {"content-type": "application/zip"})


def zip_of(rows: Sequence[Sequence[str]], name: str = "rapport.csv") -> bytes:
    text, made = io.StringIO(newline=""), io.BytesIO()
    csv.writer(text, delimiter=";").writerows(rows)
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text.getvalue())
    return made.getvalue()


@dataclass
class Mobtexting:
    """The log from the newest down, 25 a page; states by day, 100 a page, or by id."""

    log: list[Mapping[str, Any]] = field(default_factory=list)
    states: list[Mapping[str, Any]] = field(default_factory=list)

    def receive(self, message_id: str, created_at: str, text: str = "OFFER") -> None:
        self.log.append(
            {"id": message_id, "user_id": 2, "mobile": "918074012345", "number": "919019120123",
             "first_keyword": "OFFER", "second_keyword": "", "body": text, "flow_id": 117, "location": None,
             "provider": "Jio", "created_at": created_at}
        )  # fmt: skip

    def sent(self, message_id: str, status: str, **changed: Any) -> None:
        self.states[:] = [it for it in self.states if it["id"] != message_id]
        self.states.append(
            {"id": message_id, "mobile": "918921269123", "status": status, "units": 1, "service": "T", "length": 7,
             "charges": 1, "custom": "", "custom1": "", "location": "", "provider": "",
             "submitted_at": "2026-11-20 09:57:42", "delivered_at": "", "sender": "SENDER", **changed}
        )  # fmt: skip

    def answer(self, asked: Asked) -> Says:
        if asked.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
            return json({"message": "Unauthenticated."}, 401)
        match asked.path:
            case "/vmn/logs":
                return self._logs(asked.query["date[created_at]"], int(asked.query.get("page", "1")))
            case "/sms/status":
                return self._states(asked.query)
        return Says(404)

    def _logs(self, day: str, page: int) -> Says:
        of_day = sorted((it for it in self.log if it["created_at"][:10] == day), key=lambda it: it["created_at"])
        rows, more = _paged(of_day[::-1], page, 25)
        numbered = [{**row, "serial": number} for number, row in enumerate(rows, 1)]
        return json({"rows": {"current_page": page, "data": numbered, "next_page_url": more and "…/vmn/logs?page=…"}})

    def _states(self, query: Mapping[str, str]) -> Says:
        if "id" in query:
            return json({"status": "OK", "code": 200, "data": [it for it in self.states if it["id"] == query["id"]]})
        of_day = [it for it in self.states if it["submitted_at"][:10] == query["date"]]
        rows, more = _paged(of_day, int(query["page"]), 100)
        return json({"status": "OK", "data": rows, "links": {"next": more and "…/sms/status?page=…"}})


def _paged(rows: Sequence[Any], page: int, size: int) -> tuple[Sequence[Any], bool | None]:
    return rows[(page - 1) * size : page * size], len(rows) > page * size or None
