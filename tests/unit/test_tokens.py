"""What a token must be to be believed, and what it may never be."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agents.adapters.tokens import (
    LEEWAY_S,
    Keys,
    Realm,
    TokenRefused,
    TokenVerifier,
    development_secret,
    jwks_keys,
    make_token,
    read_secret,
    secret_keys,
)
from agents.kernel.errors import ConfigurationError
from tests.unit.forged_tokens import (
    FORGED,
    FORGED_FOR_KEYS,
    NOW_S,
    OTHER_RSA_KEY,
    REALM,
    RSA_KEY,
    SECRET,
    StandingClock,
    claims,
    head,
    jwk,
    token,
)


def verifier(keys: Keys | None = None) -> TokenVerifier:
    return TokenVerifier(keys or secret_keys(SECRET), REALM, StandingClock())


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_token_is_refused_when_forged(forged: Callable[[], str]) -> None:
    """Each of these proves nothing, and the refusal does not repeat it."""
    text = forged()

    with pytest.raises(TokenRefused) as refused:
        verifier().principal(text)

    assert not text or text not in str(refused.value)


@pytest.mark.parametrize("forged", FORGED_FOR_KEYS.values(), ids=FORGED_FOR_KEYS)
def test_token_is_refused_when_forged_against_a_key_set(forged: Callable[[], str]) -> None:
    """A public key is never taken for a secret, and the header brings no key along."""
    keys = jwks_keys(json.dumps({"keys": [jwk(RSA_KEY, "k1")]}))

    with pytest.raises(TokenRefused):
        verifier(keys).principal(forged())


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"aud": ["another", "chorale"]},
        {"iat": NOW_S - 900, "exp": NOW_S - LEEWAY_S + 1},
        {"iat": NOW_S + LEEWAY_S},
        {"nbf": NOW_S + LEEWAY_S},
        {"exp": NOW_S + 0.5},
        {"unknown": {"claim": 1}},
    ],
)
def test_token_is_believed_when_good(changed: dict[str, Any]) -> None:
    """A good token names its subject; a minute of leeway is given."""
    assert verifier().principal(token(claims(**changed))) == "ada"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt"])
def test_token_is_believed_when_its_type_is_known(typ: str) -> None:
    """Access tokens (RFC 9068) are tokens too."""
    assert verifier().principal(token(header=head(typ=typ))) == "ada"


def test_token_is_believed_when_a_key_of_the_set_signed_it() -> None:
    """A key set verifies by key id."""
    keys = jwks_keys(json.dumps({"keys": [jwk(OTHER_RSA_KEY, "k0"), jwk(RSA_KEY, "k1")]}))
    good = jwt.encode(claims(), RSA_KEY, algorithm="RS256", headers={"kid": "k1"})

    assert verifier(keys).principal(good) == "ada"


def test_key_set_is_read_when_it_holds_elliptic_keys() -> None:
    """ES256 works as RS256 does."""
    key = ec.generate_private_key(ec.SECP256R1())
    entry = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    keys = jwks_keys(json.dumps({"keys": [{**entry, "kid": "e1", "alg": "ES256"}]}))
    good = jwt.encode(claims(), key, algorithm="ES256", headers={"kid": "e1"})

    assert verifier(keys).principal(good) == "ada"


@pytest.mark.parametrize(
    "entries",
    [
        "nonsense",
        [],
        [jwk(RSA_KEY, "k1", alg="HS256")],
        [jwk(RSA_KEY, "k1", use="enc")],
        [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY)), "kid": "k1", "alg": "RS256"}],
        [jwk(RSA_KEY, "")],
        [jwk(RSA_KEY, "k1"), jwk(OTHER_RSA_KEY, "k1")],
        [jwk(RSA_KEY, "k1"), jwk(OTHER_RSA_KEY, "k2", alg="PS256")],
        [{"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"}],
        [jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024), "k1")],
    ],
)
def test_key_set_is_refused_when_it_is_not_of_public_keys(entries: Any) -> None:
    """One algorithm, public keys only, an id each."""
    with pytest.raises(ConfigurationError, match="key set"):
        jwks_keys(json.dumps({"keys": entries}))


def test_made_token_is_believed_until_it_expires() -> None:
    """What `make_token` makes, the verifier believes."""
    made = make_token(SECRET, REALM, "grace", 60, StandingClock())

    assert verifier().principal(made) == "grace"


@pytest.mark.parametrize(("subject", "ttl_s"), [("", 60), ("a\nb", 60), ("direct", 60), ("a", 0)])
def test_token_is_not_made_when_nobody_would_believe_it(subject: str, ttl_s: int) -> None:
    """A token that is refused anyway is not handed out."""
    with pytest.raises(ValueError, match=r"sub|lives"):
        make_token(SECRET, REALM, subject, ttl_s, StandingClock())


def test_development_secret_stays_the_same_and_private(tmp_path: Path) -> None:
    """The secret is made once, and only its owner can read it."""
    path = tmp_path / "jwt.secret"

    first, second = development_secret(path), development_secret(path)

    assert first == second == read_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secret_is_refused_when_short_or_absent(tmp_path: Path) -> None:
    """The message names the setting and says what to do."""
    (tmp_path / "short").write_text("hunter2\n")

    for name in ("short", "absent"):
        with pytest.raises(ConfigurationError, match=r"jwt_secret_file.*32"):
            read_secret(tmp_path / name)


def test_verifier_is_refused_when_issuer_or_audience_is_empty() -> None:
    """An empty expectation would be met by any token that lacks it."""
    for realm in (Realm("", "chorale"), Realm("chorale-dev", "")):
        with pytest.raises(ConfigurationError, match="jwt_issuer"):
            TokenVerifier(secret_keys(SECRET), realm, StandingClock())
