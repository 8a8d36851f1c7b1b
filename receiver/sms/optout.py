"""What a person asks for by a word: to stop, to start again, or for help; and the keyword of any text.

Only a text that is nothing but a listed word or phrase counts. A first word alone never opts anyone out.
"""

import re
from collections.abc import Iterable
from unicodedata import category, normalize

from receiver.sms.drafts import Intent

Words = tuple[tuple[Intent, str], ...]

# As regulators, associations of operators and vendors publish them.
#
# YES is left out, although some vendors' defaults (Twilio, Braze, Klaviyo) take it as an opt-in: people answer
# questions with it, and who has opted out must not be opted in by an answer to another question.
PUBLISHED: Words = (
    # FCC, 47 CFR 64.1200(a)(10): https://www.govinfo.gov/content/pkg/FR-2024-03-05/html/2024-04587.htm
    ("opt_out", "stop, quit, end, revoke, opt out, cancel, unsubscribe"),
    # CTIA, Messaging Principles and Best Practices (May 2023), section 5.1.3:
    # https://api.ctia.org/wp-content/uploads/2023/05/230523-CTIA-Messaging-Principles-and-Best-Practices-FINAL.pdf
    ("opt_out", "stop, end, unsubscribe, cancel, quit, please opt me out"),
    # Twilio: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out and
    # https://support.twilio.com/hc/en-us/articles/223134027-Twilio-support-for-opt-out-keywords-SMS-STOP-filtering
    ("opt_out", "stop, unsubscribe, end, quit, stopall, revoke, optout, cancel"),
    ("opt_in", "start, unstop"),
    ("help", "help, info"),
    # Twilio, French: https://www.twilio.com/docs/proxy/opt-out-keywords
    ("opt_out", "arret, arrete, arrett"),
    # Twilio, Spanish: https://www.twilio.com/help/faq/short-codes/what-are-the-requirements-for-a-spanish-language-short-code
    ("opt_out", "alto"),
    ("help", "ayuda"),
    # Telnyx: https://developers.telnyx.com/docs/messaging/messages/advanced-opt-in-out
    ("opt_out", "stop, stopall, stop all, unsubscribe, cancel, end, quit"),
    ("opt_in", "start, unstop"),
    # AWS: https://docs.aws.amazon.com/sms-voice/latest/userguide/keywords-required.html
    ("opt_out", "arret, cancel, end, opt-out, optout, quit, remove, stop, td, unsubscribe"),
    ("opt_in", "start, unstop"),
    # Vonage: https://api.support.vonage.com/hc/en-us/articles/9398221473564-Vonage-Opt-Out-Assist
    ("opt_out", "stop, end, quit, cancel, unsubscribe"),
    # Bandwidth, toll-free:
    # https://support.bandwidth.com/hc/en-us/articles/360010785613-Does-Bandwidth-handle-opt-in-and-opt-out-keywords
    ("opt_out", "stop"),
    ("opt_in", "unstop, start"),
    # Sinch, English and Spanish:
    # https://community.sinch.com/t5/Conversation-API/Can-I-customize-opt-in-and-opt-out-keywords-for-use-with-consent/ta-p/18980
    ("opt_out", "stop, unsubscribe, detener, salir"),
    ("opt_in", "start, subscribe, volver, recibir"),
    # Esendex, English and French: https://esendex.us/docs/sms-api/system-keywords
    ("opt_out", "stop, end, cancel, quit, unsub, arret"),
    ("opt_in", "resume, recommencer"),
    ("help", "help, hlp, info, aide"),
    # CWTA, Canadian Common Short Code Application Guidelines:
    # https://support.infobip.com/docs/essentials/usa-and-canada-compliance/canadian-mandatory-keyword-responses
    ("opt_out", "stop, arret"),
    ("help", "help, aide, info"),
    # af2m, Charte Business Messaging (STOP also by the CNIL's advice):
    # https://af2m.org/charte-business-messaging-2026-laf2m-renforce-les-regles-du-jeu
    # CONTACT asks who the sender is:
    # https://www.universfreebox.com/article/584919/le-saviez-vous-bloquer-un-sms-pub-est-aussi-simple-que-dy-repondre-pour-les-abonnes-free-mobile-et-des-autres-operateurs
    ("opt_out", "stop"),
    ("help", "contact"),
    # Mobile Marketing Association, as Spanish guides quote it:
    # https://inteligentes.online/Teléfonos-celulares-y-accesorios/Móviles/¿Cómo-darse-de-baja-de-SMS-.html
    ("opt_out", "cancelar, baja"),
    # ActiveCampaign, German:
    # https://help.activecampaign.com/hc/de/articles/360021662640-Anforderungen-an-SMS-STOP-Klauseln
    ("opt_out", "stopp, cancel, stornieren, abmelden, stopall, abbestellen"),
    # Romania: https://www.sent.dm/resources/romania-sms-guide
    ("opt_out", "stop, dezabonare"),
    ("help", "ajutor"),
    # TRAI's preference register (TCCCPR), where START begins the *blocking*; meant for 1909, also sent to senders:
    # https://gadgetsnow.indiatimes.com/how-to/how-to-block-unwated-spam-smses/articleshow/9747069.cms
    ("opt_out", "start 0, start dnd"),
    # Kaleyra, India: https://developers.kaleyra.io/docs/campaign-opt-out-settings
    ("opt_out", "stop"),
)  # fmt: skip

# Our own: spellings with their accents, inflections and translations of the words above. No source lists them.
TRANSLATED: Words = (
    # English
    ("opt_out", "opt me out, stop texting me, stop messaging me, remove me, unsubscribe me, please stop, stop please"),
    # French
    ("opt_out", "arrêt, arrête, arrêter, arreter, arrêtez, arretez, désabonner, desabonner, désabonnement"),
    ("opt_out", "desabonnement, se désabonner, se desabonner, désinscrire, desinscrire, désinscription"),
    ("opt_out", "desinscription, me désinscrire, me desinscrire, stop sms, stop pub"),
    ("opt_in", "réabonner, reabonner, réabonnement, reabonnement"),
    # Romanian
    ("opt_out", "dezabonați, dezabonati, dezabonează, dezaboneaza, dezabonează-mă, dezaboneaza-ma, mă dezabonez"),
    ("opt_out", "ma dezabonez, opriți, opriti, oprește, opreste"),
    ("opt_in", "abonare, reabonare"),
    # Spanish
    ("opt_out", "parar, dar de baja, darme de baja, darse de baja, no más, no mas, no más mensajes, no mas mensajes"),
    ("opt_in", "reanudar, suscribir, suscribirme"),
    # German
    ("opt_out", "abmeldung, abbestellung, austragen, bitte abmelden, keine sms mehr, keine nachrichten mehr"),
    ("opt_in", "anmelden, wieder anmelden"),
    ("help", "hilfe"),
    # Hindi, in Devanagari and as written in Latin letters
    ("opt_out", "स्टॉप, बंद करो, बंद करें, बंद करे, बंद कर दो, बन्द करो, बन्द करें, रोकें, रोको, मैसेज मत भेजो"),
    ("opt_out", "band karo, band kro, band kare, band karen, band kar do, bandh karo, bund karo, roko, rokein"),
    ("opt_out", "sms band karo, message band karo, msg band karo, message mat bhejo, msg mat bhejo, sms mat bhejo"),
    ("opt_in", "शुरू, शुरू करो, शुरू करें, चालू करो, चालू करें, shuru karo, shuru kare, shuru karen, chalu karo"),
    ("help", "मदद, सहायता, madad, sahayata"),
)

# Romanian is also typed with cedillas for its commas below.
_COMMAS_BELOW = str.maketrans("şţ", "șț")
# Blanks beyond str.strip(): zero-width characters and marks of direction that keyboards and copies leave behind.
_UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_BLANKS = " \t\n\r\f\v\u00a0" + _UNSEEN
_CLOSING = _BLANKS + ".!?…,;:)]}\"'»”’*।॥。！？"
_MAX_KEYWORD = 256
_WORD = re.compile(rf"[^\W_][^\s,.;:!?…/()\[\]{{}}<>\"«»“”।॥\u200b]{{0,{_MAX_KEYWORD - 1}}}")


def _plain(text: str) -> str:
    """Compatibility forms and case folded, runs of blanks made one, closing punctuation off."""
    folded = normalize("NFKC", text).casefold().translate(_COMMAS_BELOW)
    return " ".join(folded.split()).rstrip(_CLOSING)


def _listed(tables: Iterable[Words]) -> dict[str, Intent]:
    return {_plain(word): intent for table in tables for intent, words in table for word in words.split(", ")}


_INTENTS = _listed((PUBLISHED, TRANSLATED))
_MOST_WORDS = max(phrase.count(" ") for phrase in _INTENTS) + 1


def intent_of(text: str | None) -> Intent | None:
    """What the whole text asks for, blanks, case and closing punctuation aside; None when it is not listed."""
    if text is None:
        return None
    words = text.rstrip(_CLOSING).lstrip(_BLANKS)
    # Most texts are longer than any phrase: seen by splitting off one word too many.
    if len(words.split(None, _MOST_WORDS)) > _MOST_WORDS:
        return None
    return _INTENTS.get(_plain(words))


def first_word(text: str | None) -> str | None:
    """The keyword: the first word in upper case, at most 256 characters of it; None when there is no word.

    Inner hyphens, apostrophes and the like belong to the word (OPT-OUT), punctuation ends it.
    """
    found = _WORD.search(text) if text else None
    if found is None:
        return None
    word = found[0]
    if word.isascii() and word.isalnum():
        return word.upper()[:_MAX_KEYWORD]
    end = len(word)
    while category(word[end - 1])[0] not in "LMN":
        end -= 1
    return normalize("NFKC", word[:end]).upper()[:_MAX_KEYWORD]
