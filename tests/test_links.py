"""Which addresses may be live links, and which the node may connect to."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.addresses import is_public
from node.hosts import link_ok, safe_link
from node.links import normal_host

PROVED = frozenset(("example.com", "xn--fsqu00a.example.com"))


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com/"),
        ("HTTPS://EXAMPLE.COM:443/a?b=c&d=%E6%A2%A8#e", "https://example.com/a?b=c&d=%E6%A2%A8#e"),
        ("https://example.com./a", "https://example.com/a"),
        ("https://example.com/砀山梨?q=酥", "https://example.com/%E7%A0%80%E5%B1%B1%E6%A2%A8?q=%E9%85%A5"),
        ("https://例子.example.com/", "https://xn--fsqu00a.example.com/"),
        ("https://example.com/@user", "https://example.com/@user"),
        ("https://example.com?next=https://evil.cn", "https://example.com?next=https://evil.cn"),
    ],
)
def test_a_good_link_is_shown_in_ascii(url: str, safe: str) -> None:
    assert safe_link(url, PROVED) == safe
    assert link_ok(url, PROVED)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://example.com/",
        "javascript:alert(1)",
        "//example.com/",
        "https:example.com",
        "https:///example.com",
        "https://example.com@evil.cn/",
        "https://user:pass@example.com/",
        "https://evil.cn/example.com",
        "https://sub.example.com/",
        "https://example.com.evil.cn/",
        "https://evilexample.com/",
        "https://example.com:8443/",
        "https://example.com:443:443/",
        "https://example.com\\@evil.cn/",
        "https://evil.cn\\.example.com/",
        "https://example.com%2eevil.cn/",
        "https://exam\u00adple.com/",
        "https://example.com/\u202egpj.exe",
        "https://example.com/\u2066a\u2069",
        "https://example.com/a\u200bb",
        "https://example.com/a b",
        "https://example.com/\ta",
        "https://example.com/a\r\nSet-Cookie: a=b",
        "https://example.com/%0d%0aSet-Cookie:%20a",
        "https://example.com/%00",
        'https://example.com/"onclick=',
        "https://example.com/<b>",
        " https://example.com/",
        "https://example.com/\ud800",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://еxample.com/",  # the first letter is Cyrillic
        "https://example.com/" + "a" * 2048,
        "https://example.com/" + "梨" * 300,  # 2,048 is of what is sent
    ],
)
def test_a_bad_link_is_text(url: str) -> None:
    assert not link_ok(url, PROVED)
    assert safe_link(url, PROVED) is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_around_it_leads_elsewhere(before: str, after: str) -> None:
    for url in (f"https://{before}example.com{after}", f"https://example.com{after}", before + after):
        safe = safe_link(url, PROVED)
        if safe is not None:
            parts = urlsplit(safe)
            assert (parts.scheme, parts.netloc in PROVED, safe.isascii()) == ("https", True, True)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "localhost", "com", "*.example.com", "example", "a..b.com", "-a.com", "a_b.com", "a b.com"),
        *("127.0.0.1", "127.1", "0x7f000001", "1.2.3.0x4", "[::1]", "::1", "example.com:443", "example.com/"),
        *("printer.local", "db.internal", "1.0.0.127.in-addr.arpa", "a" * 64 + ".com", "a." * 130 + "com"),
        *("exa\0mple.com", "example.com\n", "xn--a.com", "\u202eexample.com", "ex%61mple.com"),
    ],
)
def test_what_is_nobodys_host(text: str) -> None:
    assert normal_host(text) is None


def test_a_host_has_one_form() -> None:
    assert normal_host("Shop.EXAMPLE.com.") == "shop.example.com"
    assert normal_host("例子。example．com") == "xn--fsqu00a.example.com"  # full-width dots, as an IME types them
    assert normal_host("xn--fsqu00a.example.com") == "xn--fsqu00a.example.com"


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.0.0.77", "169.254.169.254"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.7"),
        *("203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
        *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "5f00::1"),
        *("2001::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "", "example.com", "8.8.8"),
    ],
)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "114.114.114.114", "172.32.0.1", "2400:3200::1", "2606:4700::1111"])
def test_an_address_that_is_public(address: str) -> None:
    assert is_public(address)
