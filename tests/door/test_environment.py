"""What the environment of the process says of proxies and passwords has no say in where we call and what we send."""

import pytest

from receiver.delivery.outcome import Delivered
from receiver.egress import Transport
from tests.delivery.bad_subscribers import TLS_HOST, answer, subscriber, trusting_tls
from tests.delivery.running import Run, on_both_loops
from tests.door.knocking import ALLOWED_SIDE, ONE_SIDE, Named, attempt, two_sides

PROXIES = ["http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "socks_proxy", "ws_proxy", "wss_proxy"]


@on_both_loops
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("no_proxy", ["", "somewhere.test"])
def test_proxies_of_the_environment_are_not_used(run: Run, monkeypatch: pytest.MonkeyPatch, scheme: str, no_proxy: str):
    async def main() -> None:
        certificate = "self_signed.pem" if scheme == "https" else None
        async with two_sides(answer(), certificate=certificate) as (allowed, forbidden):
            for name in PROXIES:
                monkeypatch.setenv(name, f"http://127.0.0.1:{forbidden.port}")
                monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{forbidden.port}")
            monkeypatch.setenv("no_proxy", no_proxy)
            monkeypatch.setenv("NO_PROXY", no_proxy)
            async with Transport(ONE_SIDE, resolve=Named([ALLOWED_SIDE]), tls=trusting_tls()) as transport:
                outcome = await attempt(transport, f"{scheme}://{TLS_HOST}:{allowed.port}/hook")
            assert isinstance(outcome, Delivered)
            assert (allowed.connects, forbidden.connects) == (1, 0)
            assert allowed.heads[0].startswith(b"POST /hook HTTP/1.1\r\n")

    run(main())


@on_both_loops
def test_passwords_of_a_netrc_file_are_not_sent(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.2 login me password s3cret\ndefault login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def main() -> None:
        async with subscriber(answer(), host=ALLOWED_SIDE) as it, Transport(ONE_SIDE) as transport:
            assert isinstance(await attempt(transport, it.url), Delivered)
            assert b"authorization" not in it.heads[0].lower()

    run(main())


@on_both_loops
def test_cookies_are_not_kept(run: Run):
    async def main() -> None:
        setting = answer(200, b"", [("set-cookie", "session=1; Path=/")])
        async with subscriber(setting, host=ALLOWED_SIDE) as it:
            async with Transport(ONE_SIDE, resolve=Named([ALLOWED_SIDE])) as transport:
                for _ in range(2):
                    await attempt(transport, f"http://session.test:{it.port}/")
            assert b"cookie" not in it.heads[1].lower()

    run(main())
