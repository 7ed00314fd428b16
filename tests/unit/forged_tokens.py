"""Tokens that no gateway may believe, and the means to make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from agents.adapters.tokens import LEEWAY_S, Realm

NOW_S = 1_700_000_000
SECRET = b"a secret of forty characters, never used"
REALM = Realm("chorale-dev", "chorale")
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = RSA_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class StandingClock:
    """A clock that stands."""

    def now_ms(self) -> int:
        return NOW_S * 1000

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody should sleep {seconds} s")


def claims(**changed: Any) -> dict[str, Any]:
    """Good claims, changed; a value of `...` removes the claim."""
    good = {
        "iss": "chorale-dev",
        "aud": "chorale",
        "sub": "ada",
        "iat": NOW_S - 10,
        "exp": NOW_S + 600,
    }
    return {name: value for name, value in (good | changed).items() if value is not ...}


def encoded(part: Any) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def token(payload: Any = None, header: Any = None, secret: bytes = SECRET) -> str:
    """A token signed with HS256 whatever its header says."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = f"{encoded(head)}.{encoded(claims() if payload is None else payload)}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(signature)}"


def head(**changed: Any) -> dict[str, Any]:
    return {"alg": "HS256", "typ": "JWT", **changed}


def unsigned(header: dict[str, Any]) -> str:
    return f"{encoded(header)}.{encoded(claims())}."


def swapped_payload() -> str:
    before, _, after = token().split(".")
    return f"{before}.{encoded(claims(sub='admin'))}.{after}"


def jwk(key: rsa.RSAPrivateKey, kid: str, **changed: Any) -> dict[str, Any]:
    entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return {**entry, "kid": kid, "alg": "RS256", "use": "sig", **changed}


FORGED: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "one dot": lambda: "a.b",
    "four parts": lambda: token() + ".x",
    "five parts, as if encrypted": lambda: "a.b.c.d.e",
    "not base64": lambda: "!!!.???.###",
    "truncated by one character": lambda: token()[:-1],
    "without its signature": lambda: token().rsplit(".", 1)[0] + ".",
    "with a line break": lambda: token() + "\n",
    "with padding": lambda: token() + "=",
    "too long": lambda: token(claims(extra="x" * 9_000)),
    "header is no JSON": lambda: token(header=b"{"),
    "header is a list": lambda: token(header=["HS256"]),
    "payload is no JSON": lambda: token(b"{"),
    "payload is a list": lambda: token([claims()]),
    "payload is deep": lambda: token(b"[" * 4_000 + b"]" * 4_000),
    "payload has NaN": lambda: token(json.dumps(claims(exp=float("nan"))).encode()),
    "payload is not UTF-8": lambda: token(b'{"sub": "\xff"}'),
    "payload exchanged": swapped_payload,
    "another secret": lambda: token(secret=b"another secret of some forty characters."),
    "empty secret": lambda: token(secret=b""),
    "alg none": lambda: unsigned(head(alg="none")),
    "alg None": lambda: unsigned(head(alg="None")),
    "alg none with a signature": lambda: token(header=head(alg="none")),
    "alg missing": lambda: token(header={"typ": "JWT"}),
    "alg null": lambda: token(header=head(alg=None)),
    "alg is a list": lambda: token(header=head(alg=["HS256"])),
    "alg in lower case": lambda: token(header=head(alg="hs256")),
    "alg HS512": lambda: jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
    "alg RS256": lambda: jwt.encode(claims(), RSA_KEY, algorithm="RS256"),
    "typ is another": lambda: token(header=head(typ="JWE")),
    "typ is a number": lambda: token(header=head(typ=1)),
    "crit": lambda: token(header=head(crit=["exp"])),
    "crit empty": lambda: token(header=head(crit=[])),
    "crit null": lambda: token(header=head(crit=None)),
    "b64 false": lambda: token(header=head(b64=False, crit=["b64"])),
    "b64 true": lambda: token(header=head(b64=True)),
    "kid unknown": lambda: token(header=head(kid="another")),
    "kid is a path": lambda: token(header=head(kid="../../dev/null"), secret=b""),
    "kid is a query": lambda: token(header=head(kid="' UNION SELECT 'x")),
    "kid null": lambda: token(header=head(kid=None)),
    "kid is a list": lambda: token(header=head(kid=[""])),
    "iss missing": lambda: token(claims(iss=...)),
    "iss another": lambda: token(claims(iss="chorale-dev.evil")),
    "iss is a list": lambda: token(claims(iss=["chorale-dev"])),
    "aud missing": lambda: token(claims(aud=...)),
    "aud another": lambda: token(claims(aud="console")),
    "aud is empty": lambda: token(claims(aud=[])),
    "aud is an object": lambda: token(claims(aud={"chorale": 1})),
    "aud has a number": lambda: token(claims(aud=["chorale", 1])),
    "aud contains ours as a part": lambda: token(claims(aud="chorale-admin")),
    "sub missing": lambda: token(claims(sub=...)),
    "sub empty": lambda: token(claims(sub="")),
    "sub null": lambda: token(claims(sub=None)),
    "sub is a number": lambda: token(claims(sub=7)),
    "sub too long": lambda: token(claims(sub="a" * 256)),
    "sub with a line break": lambda: token(claims(sub="ada\nbob")),
    "sub with a surrogate": lambda: token(claims(sub="ada\ud800")),
    "sub is reserved": lambda: token(claims(sub="direct")),
    "exp missing": lambda: token(claims(exp=...)),
    "exp is a text": lambda: token(claims(exp=str(NOW_S + 600))),
    "exp is true": lambda: token(claims(exp=True)),
    "exp is negative": lambda: token(claims(exp=-1)),
    "exp in milliseconds": lambda: token(claims(exp=NOW_S * 1000)),
    "exp beyond floats": lambda: token(claims(exp=10**400)),
    "exp infinite": lambda: token(json.dumps(claims(exp=7)).replace("7}", "1e999}").encode()),
    "expired": lambda: token(claims(iat=NOW_S - 900, exp=NOW_S - LEEWAY_S)),
    "expired long ago": lambda: token(claims(iat=NOW_S - 9_000, exp=NOW_S - 8_000)),
    "iat missing": lambda: token(claims(iat=...)),
    "iat is true": lambda: token(claims(iat=True)),
    "iat is a text": lambda: token(claims(iat="now")),
    "iat in the future": lambda: token(claims(iat=NOW_S + LEEWAY_S + 1)),
    "exp before iat": lambda: token(claims(iat=NOW_S + 30, exp=NOW_S + 20)),
    "nbf in the future": lambda: token(claims(nbf=NOW_S + LEEWAY_S + 1)),
    "nbf null": lambda: token(claims(nbf=None)),
    "nbf is a text": lambda: token(claims(nbf="0")),
}

FORGED_FOR_KEYS: dict[str, Callable[[], str]] = {
    "public key as the secret": lambda: token(header=head(kid="k1"), secret=PUBLIC_PEM),
    "public key as the secret, alg RS256": lambda: token(
        header=head(alg="RS256", kid="k1"), secret=PUBLIC_PEM
    ),
    "another's key under our id": lambda: jwt.encode(
        claims(), OTHER_RSA_KEY, algorithm="RS256", headers={"kid": "k1"}
    ),
    "no key id": lambda: jwt.encode(claims(), RSA_KEY, algorithm="RS256"),
    "unknown key id": lambda: jwt.encode(
        claims(), RSA_KEY, algorithm="RS256", headers={"kid": "k2"}
    ),
    "key in the header": lambda: jwt.encode(
        claims(),
        OTHER_RSA_KEY,
        algorithm="RS256",
        headers={"kid": "k1", "jwk": jwk(OTHER_RSA_KEY, "k1")},
    ),
    "key address in the header": lambda: jwt.encode(
        claims(),
        OTHER_RSA_KEY,
        algorithm="RS256",
        headers={"kid": "k1", "jku": "https://evil.example/keys"},
    ),
    "PS256 for RS256": lambda: jwt.encode(
        claims(), RSA_KEY, algorithm="PS256", headers={"kid": "k1"}
    ),
    "alg none": lambda: unsigned(head(alg="none", kid="k1")),
}
