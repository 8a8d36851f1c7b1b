"""Mobtexting's names and status words as data, for `mobtexting.py`.

Names: https://github.com/mobtexting/docs v2/sms/webhook.md, v2/vmn/webhook.md.
Words: v2/sms/smpp.md (codes and descriptions), v2/sms/status-report.md (TIMEOUT-DLR). The codes stand in the
comments: reports carry the word, and several codes share one.
"""

from collections.abc import Mapping

from receiver.vendors.mapping_options import Names, Verdict

FIELDS: Mapping[str, Names] = {
    "vendor_message_id": ("id", "message_id"),
    "client_reference": ("custom",),
    "from": ("from",),
    "to": ("mobile", "to"),
    "text": ("text",),
    "status": ("status",),
    "occurred_at": ("deliv_at", "deliv_time"),
    "sent_at": ("timestamp",),
    "keyword": ("keyword1", "keyword"),
    "segments": ("units",),
    "price": ("credits",),
    "network_name": ("provider",),
}
INBOUND: Mapping[str, Names] = {
    "vendor_message_id": ("payload.id",),
    "from": ("payload.recipient.from",),
    "to": ("payload.channels.0.to",),
    "text": ("payload.message.payload.text",),
}

STATUSES: Mapping[str, Verdict] = {
    "AWAITING-DLR": ("sent", False, None),  # in the answer to the send call: no report yet
    "TIMEOUT-DLR": ("sent", True, None),  # no report came: the vendor expects no more, without a verdict
    "DELIVRD": ("delivered", True, None),  # 000 delivered
    "INVALID-SUB": ("undelivered", True, "invalid_number"),  # 001, 002, 015 unidentified or illegal subscriber
    "ABSENT-SUB": ("undelivered", True, "absent"),  # 003, 010
    "HANDSET-ERR": ("undelivered", True, "handset_error"),  # 004, 006, 007 illegal equipment, no SMS support, error
    "BARRED": ("undelivered", True, "blocked"),  # 005 prohibited; 020 refused by the closed user group
    "NET-ERR": ("undelivered", True, "network_error"),  # 008, 012, 017, 019
    "MEMEXEC": ("undelivered", True, "inbox_full"),  # 009 handset memory
    "FAILED": ("failed", True, None),  # 011 SMSC, 014 roaming, 045 and 462 without a cause
    "MOB-OFF": ("undelivered", True, "absent"),  # 013 switched off
    "HANDSET-BUSY": ("undelivered", True, "absent"),  # 016
    "SERIES-BLK": ("undelivered", True, "blocked"),  # 018 number range, by the operator
    "EXPIRED": ("expired", True, "expired"),  # 021
    "UNDELIV": ("undelivered", True, None),  # 034, 099, 461 without a cause
    "SERIES-BLOCK": ("rejected", True, "blocked"),  # 400 number range, by the platform
    "NO-CREDITS": ("rejected", True, "no_credit"),  # 401
    "NO-ACCOUNT": ("rejected", True, "other"),  # 402 invalid account
    "SERVER-ERR": ("failed", True, "vendor_error"),  # 403, 405, 406, 430 to 433
    "INV-NUMBER": ("rejected", True, "invalid_number"),  # 404
    "SPAM": ("rejected", True, "filtered"),  # 407
    "DNDNUMB": ("rejected", True, "do_not_disturb"),  # 408
    "BLACKLST": ("rejected", True, "blocked"),  # 450
    "SNDR-BLOCK": ("rejected", True, "sender_rejected"),  # 451
    "TEMPLATE-NOT-FOUND": ("rejected", True, "template_rejected"),  # 452
    "INV-TEMPLATE": ("rejected", True, "template_rejected"),  # 453 another account's
    "INV-SENDER": ("rejected", True, "sender_rejected"),  # 454 another account's
    "NOT-OPTIN": ("rejected", True, "no_consent"),  # 455
    "OPTOUT-REJ": ("rejected", True, "opted_out"),  # 456
    "PROMO-TMOUT": ("rejected", True, "not_allowed"),  # 457 outside the hours for promotion
    "REJECTED": ("rejected", True, None),  # 458 without a cause
    "NOTALLOWED": ("rejected", True, "not_allowed"),  # 459 country
    "DUPLICATE": ("rejected", True, "duplicate"),  # 460
    "THROTTLED": ("rejected", True, "throttled"),  # 463
    # India's registry of senders, templates and entities (DLT)
    "DLT-REJECTED": ("rejected", True, "not_allowed"),  # 777 sender or template, it does not say which
    "REJ-MULTIPART": ("undelivered", True, "other"),  # 778 not every part arrived
    "DLT-INV-TMID": ("rejected", True, "sender_rejected"),  # 780 telemarketer id
    "DLT-INV-ENTITY": ("rejected", True, "sender_rejected"),  # 781
    "DLT-INV-TM-ID": ("rejected", True, "template_rejected"),  # 782 template id
    "DLT-TM-VAR-EXECEED": ("rejected", True, "template_rejected"),  # 783 (their spelling) variable over 30 characters
    "DLT-ENTITY-NOT-FOUND": ("rejected", True, "sender_rejected"),  # 784
    "DLT-TM-BLACKLST": ("rejected", True, "template_rejected"),  # 785
    "DLT-ENTITY-BLACKLST": ("rejected", True, "sender_rejected"),  # 786
    "DLT-HEADER-INACTIVE": ("rejected", True, "sender_rejected"),  # 787
    "DLT-TM-INACTIVE": ("rejected", True, "template_rejected"),  # 788
    "DLT-SENDER-NOT-REG-TM": ("rejected", True, "sender_rejected"),  # 789 not registered for the template
    "INV-PROVISION": ("rejected", True, "sender_rejected"),  # 790
    "INV-SERVICE": ("rejected", True, "other"),  # 791 service type
    "INV-SCHEDULE": ("rejected", True, "other"),  # 792
}
