"""A campaign report as users of iSendPro know it: a row for each message of a period, with where it stands. Pure.

Its document says that the report is a zip with a CSV "contenant le detail des envois", for a period given as
`YYYY-MM-DD hh:mm`, and nothing of the columns. Names are those that its API has for the same thing where there is one.

https://api.apis.guru/v2/specs/isendpro.com/1.1.1/swagger.json
"""

from collections.abc import Mapping, Sequence
from typing import Any

IN_ITS_API = "its API calls it so"
ASSUMED = "assumed"
OURS = "ours"

COLUMNS: Mapping[str, tuple[str, str]] = {
    "num": ("the recipient", IN_ITS_API),
    "emetteur": ("the sender", IN_ITS_API),
    "tracker": ("your own reference", IN_ITS_API),
    "campagne": ("the batch or campaign", ASSUMED),
    "date_envoi": ("when it was first reported on, UTC; the sending itself is not seen here", ASSUMED),
    "date_statut": ("when its present state was reported, UTC", ASSUMED),
    "statut": ("its present state, in our words", ASSUMED),
    "code": ("the vendor's error code", IN_ITS_API),
    "message": ("the vendor's own word or explanation of the state", IN_ITS_API),
    "operateur": ("the recipient's operator", IN_ITS_API),
    "nb_sms": ("segments", IN_ITS_API),
    "prix": ("for all parts that the report knew", ASSUMED),
    "devise": ("of the price", ASSUMED),
    "final": ("`true`: the vendor expects no further report", OURS),
    "reason": ("why it failed, in our words", OURS),
    "vendor": ("", OURS),
    "source_id": ("", OURS),
    "message_id": ("", OURS),
    "vendor_message_id": ("", OURS),
}
"""Name of each column → what it holds, and where the name is from."""


def cells(reports: Sequence[Mapping[str, Any]]) -> Sequence[object]:
    """The row of one message, from the data of all reports about it in the order of the log, in that of COLUMNS."""
    first, deciding = reports[0], _deciding(reports)
    known = {
        "num": _known(reports, "to", "address"),
        "emetteur": _known(reports, "from", "address"),
        "tracker": _known(reports, "client_reference"),
        "campagne": _known(reports, "batch_id"),
        "date_envoi": _minute(first["occurred_at"] or first["received_at"]),
        "date_statut": _minute(deciding["occurred_at"] or deciding["received_at"]),
        "statut": deciding["current_status"],
        "code": deciding["vendor_code"],
        "message": deciding["vendor_description"] or deciding["vendor_status"],
        "operateur": _known(reports, "network", "name") or _network(reports),
        "nb_sms": _known(reports, "segments"),
        "prix": _known(reports, "price", "amount"),
        "devise": _known(reports, "price", "currency"),
        "vendor_message_id": _known(reports, "vendor_message_id"),
    }
    return [known[name] if name in known else deciding[name] for name in COLUMNS]


def _deciding(reports: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last one that moved the message, or said again where it stands."""
    return next((data for data in reversed(reports) if not data["stale"]), reports[-1])


def _known(reports: Sequence[Mapping[str, Any]], *path: str) -> Any:
    """The newest that is known of something."""
    for data in reversed(reports):
        found: Any = data
        for step in path:
            found = found[step] if found is not None else None
        if found is not None:
            return found
    return None


def _network(reports: Sequence[Mapping[str, Any]]) -> str | None:
    codes = [_known(reports, "network", name) for name in ("mcc", "mnc")]
    return "-".join(codes) if all(codes) else None


def _minute(moment: str) -> str:
    """`2026-11-20T14:47:03.123Z` as `2026-11-20 14:47`, the form of its document."""
    return moment[:16].replace("T", " ")
