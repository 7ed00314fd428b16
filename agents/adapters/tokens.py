"""Bearer tokens (JWT): who is calling, or a refusal that tells an attacker nothing.

1. One algorithm, chosen by the installation and never by the token.
2. The signature is checked before a single claim is believed.
3. `exp iat sub iss aud` are required, with their exact types; times with at most a minute's
   leeway, against our own clock.
4. A critical header that we would have to understand (`crit`) is refused: we know none.

Secrets come from files, so that they stand in no command line and in no environment listing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jwt

from agents.kernel.errors import ConfigurationError
from agents.kernel.ports import Clock
from agents.kernel.submission import DIRECT_CUSTOMER

LEEWAY_S = 60
"""Clocks of issuer and gateway may differ by so much; more would keep dead tokens alive."""
TOKEN_CHARACTERS_MAX = 8_192
"""Ten times a usual token; longer ones are not even decoded."""
SUBJECT_CHARACTERS_MAX = 255
"""The longest principal that an order can carry."""
SECRET_BYTES_MIN = 32
"""A shorter secret than its hash can be guessed offline (RFC 7518, section 3.2)."""
HMAC = "HS256"
KEY_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""What a key set may use: signatures only, so that a public key is never taken for a secret."""
TIME_MAX_S = 10**11
"""The year 5138; more is a time in milliseconds, sent by mistake."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TYPES = ("jwt", "at+jwt", "application/at+jwt")


class TokenRefused(ValueError):
    """The token proves nothing; the message says why, without repeating the token."""


@dataclass(frozen=True, slots=True)
class Realm:
    """Who issues the tokens, and for whom."""

    issuer: str
    audience: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of one algorithm by their id; the id "" is for tokens that name no key."""

    algorithm: str
    by_id: Mapping[str, Any]


def secret_keys(secret: bytes) -> Keys:
    """The one key of a shared secret. Raises ConfigurationError."""
    _refuse_short(secret)
    return Keys(HMAC, {"": secret})


def jwks_keys(document: str | bytes) -> Keys:
    """The public keys of a JSON Web Key Set. Raises ConfigurationError.

    Every key must name its id and the same algorithm: one algorithm an installation.
    """
    try:
        entries = json.loads(document)["keys"]
        algorithms = {entry["alg"] for entry in entries}
        by_id = {entry["kid"]: _public_key(entry) for entry in entries}
    except (ValueError, TypeError, KeyError, RecursionError, jwt.PyJWTError) as error:
        raise ConfigurationError(
            "the key set is not a JWKS of public keys, each with kid and alg: "
            f"{type(error).__name__}; give the issuer's JWKS document as it is"
        ) from error
    if len(algorithms) != 1 or len(by_id) != len(entries):
        raise ConfigurationError(
            f"the key set has {len(entries)} keys, {len(by_id)} ids and {len(algorithms)} "
            "algorithms; give keys of one algorithm, each with an id of its own"
        )
    return Keys(algorithms.pop(), by_id)


class TokenVerifier:
    """Says who presents a token."""

    def __init__(self, keys: Keys, realm: Realm, clock: Clock) -> None:
        if not realm.issuer or not realm.audience:
            raise ConfigurationError(
                "jwt_issuer and jwt_audience must not be empty; name the issuer of the tokens and "
                "the audience that they are meant for"
            )
        self._keys = keys
        self._realm = realm
        self._clock = clock
        self._jws = jwt.PyJWS(algorithms=[keys.algorithm])

    def principal(self, token: str) -> str:
        """The subject of a valid token. Raises TokenRefused."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            _refuse("the token is too long")
        if not _COMPACT.fullmatch(token):
            _refuse("the token is not a compact JWT")
        try:
            key = self._key_for(self._jws.get_unverified_header(token))
            signed = self._jws.decode_complete(token, key, algorithms=[self._keys.algorithm])
            claims = json.loads(signed["payload"], parse_constant=_refuse_constant)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            if isinstance(error, TokenRefused):
                raise
            raise TokenRefused("the token is malformed or its signature does not match") from error
        if not isinstance(claims, dict):
            _refuse("the token's payload is not an object")
        return self._subject(claims)

    def _key_for(self, header: Mapping[str, Any]) -> Any:
        if header.get("alg") != self._keys.algorithm:
            _refuse("the token's algorithm is not accepted")
        if "crit" in header or "b64" in header:
            _refuse("the token has a critical header that is not understood")
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            _refuse("the token's type is not JWT")
        key_id = header.get("kid", "")
        if not isinstance(key_id, str) or key_id not in self._keys.by_id:
            _refuse("the token names a key that is not known")
        return self._keys.by_id[key_id]

    def _subject(self, claims: Mapping[str, Any]) -> str:
        if claims.get("iss") != self._realm.issuer:
            _refuse("the token was issued by somebody else")
        _check_audience(claims.get("aud"), self._realm.audience)
        now_s = self._clock.now_ms() / 1000
        issued_s, expires_s = _time_s(claims, "iat"), _time_s(claims, "exp")
        if expires_s <= now_s - LEEWAY_S:
            _refuse("the token has expired")
        if issued_s > now_s + LEEWAY_S:
            _refuse("the token was issued in the future")
        if expires_s <= issued_s:
            _refuse("the token expires before it was issued")
        if "nbf" in claims and _time_s(claims, "nbf") > now_s + LEEWAY_S:
            _refuse("the token is not valid yet")
        return _checked_subject(claims.get("sub"))


def make_token(secret: bytes, realm: Realm, subject: str, ttl_s: int, clock: Clock) -> str:
    """A token for development, valid for `ttl_s` seconds. Raises ValueError for a bad subject."""
    _refuse_short(secret)
    _checked_subject(subject)
    if ttl_s < 1:
        raise ValueError(f"a token that lives {ttl_s} s is of no use; give at least one second")
    issued_s = clock.now_ms() // 1000
    claims = {
        "iss": realm.issuer,
        "aud": realm.audience,
        "sub": subject,
        "iat": issued_s,
        "exp": issued_s + ttl_s,
    }
    return jwt.encode(claims, secret, algorithm=HMAC)


def read_secret(path: Path) -> bytes:
    """The secret in a file, without white space around it. Raises ConfigurationError."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            f"jwt_secret_file: {path} cannot be read ({error.strerror}); "
            "write at least 32 random bytes into it, readable for this user only"
        ) from error
    _refuse_short(secret)
    return secret


def development_secret(path: Path) -> bytes:
    """The secret in a file that is made on first use, for its owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_secret(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    return read_secret(path)


def _refuse(why: str) -> NoReturn:
    raise TokenRefused(why)


def _refuse_constant(name: str) -> NoReturn:
    _refuse(f"the token's payload is not JSON: {name}")


def _refuse_short(secret: bytes) -> None:
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigurationError(
            f"jwt_secret_file: the secret has {len(secret)} bytes, at least {SECRET_BYTES_MIN} "
            "are needed; make one with `openssl rand -base64 48`"
        )


def _public_key(entry: Mapping[str, Any]) -> Any:
    if entry["alg"] not in KEY_ALGORITHMS or "d" in entry or entry.get("use", "sig") != "sig":
        raise ValueError("not a public signature key")
    if not isinstance(entry["kid"], str) or not entry["kid"]:
        raise ValueError("a key without an id")
    key = jwt.PyJWK(dict(entry))
    if key.Algorithm.check_key_length(key.key):
        raise ValueError("a key that is too short")
    return key.key


def _check_audience(audience: object, expected: str) -> None:
    names = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(name, str) for name in names) or expected not in names:
        _refuse("the token is meant for somebody else")


def _time_s(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        _refuse(f"the token's {name} is missing or not a number")
    if not 0 <= value <= TIME_MAX_S:
        _refuse(f"the token's {name} is not a time in seconds")
    return float(value)


def _checked_subject(subject: object) -> str:
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_CHARACTERS_MAX:
        _refuse(f"the token's sub is not a text of 1 to {SUBJECT_CHARACTERS_MAX} characters")
    if _UNPRINTABLE.search(subject):
        _refuse("the token's sub has characters that cannot be printed")
    if subject == DIRECT_CUSTOMER:
        # Orders from the inbox that name no customer are kept under this name.
        _refuse(f"the token's sub {DIRECT_CUSTOMER!r} is reserved")
    return subject
