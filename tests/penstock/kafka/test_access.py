"""The Kafka access settings of each client library."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess, PasswordLogin, TokenLogin
from penstock.tls import Tls

PASSWORD = 'se"cr\\et'
LOGIN = PasswordLogin(username="sink", password=SecretStr(PASSWORD))
TOKEN = TokenLogin(token_url="https://id/token", client_id="sink", client_secret=SecretStr(PASSWORD), scope="kafka")


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    files = {"ca": "CA", "certificate": "CERTIFICATE", "key": "-----BEGIN PRIVATE KEY-----"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return Tls(**{f"{name}_file": tmp_path / name for name in files})


@pytest.mark.parametrize(
    ("encrypted", "login", "protocol"),
    [(False, None, "PLAINTEXT"), (True, None, "SSL"), (False, LOGIN, "SASL_PLAINTEXT"), (True, TOKEN, "SASL_SSL")],
)
def test_the_protocol_follows_from_tls_and_login(
    encrypted: bool, login: PasswordLogin | TokenLogin | None, protocol: str, tls: Tls
) -> None:
    access = KafkaAccess(bootstrap="b:1", tls=tls if encrypted else None, login=login)
    assert access.security_protocol == access.java()["security.protocol"] == protocol
    assert access.client().get("security.protocol", "PLAINTEXT") == protocol


def test_a_password_reaches_every_client_and_is_never_shown() -> None:
    access = KafkaAccess(bootstrap="b:1", login=LOGIN)
    assert access.client()["sasl.password"] == PASSWORD
    assert access.faust()["broker_credentials"].password == PASSWORD
    assert PASSWORD not in f"{access} {access!r} {access.model_dump()}"


def test_quotes_and_backslashes_of_a_password_are_escaped_for_java() -> None:
    assert r'password="se\"cr\\et";' in KafkaAccess(bootstrap="b:1", login=LOGIN).java()["sasl.jaas.config"]


def test_java_login_modules_have_the_connectors_shaded_names() -> None:
    shaded = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
    for login, module in ((LOGIN, "scram.ScramLoginModule"), (TOKEN, "oauthbearer.OAuthBearerLoginModule")):
        assert KafkaAccess(bootstrap="b:1", login=login).java()["sasl.jaas.config"].startswith(f"{shaded}.{module} ")


def test_java_gets_the_content_of_tls_files_and_librdkafka_their_paths(tls: Tls) -> None:
    access = KafkaAccess(bootstrap="b:1", tls=tls)
    assert access.java()["ssl.truststore.certificates"] == "CA"
    assert access.java()["ssl.keystore.certificate.chain"] == "CERTIFICATE"
    assert access.client()["ssl.ca.location"] == str(tls.ca_file)


def test_a_key_that_java_cannot_read_is_refused_with_the_command_that_converts_it(tls: Tls) -> None:
    assert tls.key_file is not None
    tls.key_file.write_text("-----BEGIN RSA PRIVATE KEY-----", encoding="utf-8")
    with pytest.raises(PenstockError, match="openssl pkcs8"):
        KafkaAccess(bootstrap="b:1", tls=tls).java()


def test_faust_gets_every_broker() -> None:
    assert KafkaAccess(bootstrap="a:1, b:2").faust() == {
        "broker": "kafka://a:1;kafka://b:2",
        "broker_credentials": None,
    }


def test_the_error_for_an_invalid_tls_file_names_it(tls: Tls) -> None:
    with pytest.raises(PenstockError, match=str(tls.ca_file)):
        tls.context()
