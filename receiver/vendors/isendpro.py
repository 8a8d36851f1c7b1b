"""iSendPro (isendpro.com): receipts, replies and STOPs by a call to the customer's URL, GET or form.

Certain is one thing: `tracker`, given with the send call, comes back as a parameter of the receipt's URL
(https://github.com/iSendPro/api-sms-php). Every other name is assumed; no source gives the status codes of receipts,
so a receipt stays `unknown` until the source's `options.statuses` says what its codes mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from receiver.sms.drafts import Item
from receiver.vendors.contract import Credential, Source, Vendor, VendorRequest
from receiver.vendors.isendpro_poll import ISENDPRO_POLL, ISendProPoll
from receiver.vendors.mapping import mapped, read_request
from receiver.vendors.mapping_options import MappedOptions, Names

_NUMBER = ("num", "tel", "numero")
FIELDS: Mapping[str, Names] = {
    "client_reference": ("tracker",),
    "from": ("emetteur", "from", *_NUMBER),
    "to": (*_NUMBER, "destinataire", "to"),
    "status": ("statut", "status", "etat", "code", "dlr"),
    "text": ("sms", "message", "texte", "reponse", "text"),
    "opt_out": ("stop",),
    "occurred_at": ("date", "date_reception", "timestamp"),
}

COLUMNS: Mapping[str, Names] = {
    "client_reference": ("Tracker", "TRACKER"),
    "from": ("Emetteur", "\u00c9metteur", "EMETTEUR"),
    "to": ("Num\u00e9ro", "Numero", "NUMERO", "T\u00e9l\u00e9phone", "Telephone", "TELEPHONE"),
    "status": ("Statut", "STATUT", "Etat", "\u00c9tat", "ETAT"),
    "text": ("R\u00e9ponse", "Reponse", "REPONSE"),
    "occurred_at": ("Date", "DATE"),
}
"""Of a campaign's report, the zip with a CSV that `rapportCampagne` gives. No source names its columns: assumed."""


class ISendProOptions(MappedOptions):
    DEFAULT_FIELDS: ClassVar[Mapping[str, Names]] = FIELDS
    DEFAULT_COLUMNS: ClassVar[Mapping[str, Names]] = COLUMNS
    REFERENCE_MEANS_REPORT: ClassVar[bool] = True
    poll: ISendProPoll | None = Field(None, description="asks the vendor, instead of or beside waiting to be called")


def parse(request: VendorRequest, source: Source) -> Sequence[Item]:
    return read_request(request, mapped(source))


def setup(url: str, _options: Any) -> Mapping[str, str]:
    """The URLs for the account's settings; a STOP has no text, so its URL says what it is."""
    return {"receipt_url": url, "reply_url": url, "stop_url": f"{url}?stop=1"}


ISENDPRO = Vendor(
    name="isendpro",
    title="iSendPro",
    docs="https://www.isendpro.com/docs/",
    provenance="assumed",
    assumed="every name but `tracker`, the method, replies and STOPs; the meaning of status codes is not public and "
    "left to options.statuses; the columns of exported files. Asked: the columns of the files, their first line and "
    "their zone (Europe/Paris)",
    capabilities=("inbound", "reports", "opt_outs", "poll"),
    credentials={"keyid": Credential(help="to ask: the account's key", proves=False)},
    methods=("GET", "POST"),
    options=ISendProOptions,
    parse=parse,
    setup=setup,
    poll=ISENDPRO_POLL,
)
