"""Access to Kafka: brokers, TLS and login, translated to the settings of each client library."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from penstock.errors import PenstockError
from penstock.tls import Tls, pem

# librdkafka logs fatal errors only: it would log other errors twenty times a second, and exceptions report them.
QUIET: dict[str, str | int] = {"log_level": 2}

# Flink's connector contains Kafka's client, with its login modules, under another package name.
_JAVA = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"


class PasswordLogin(BaseModel):
    """Login by name and password: SCRAM, or PLAIN, which sends the password as text and so needs encryption."""

    model_config = ConfigDict(frozen=True)

    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-512"
    username: str
    password: SecretStr


class TokenLogin(BaseModel):
    """Tokens (OAUTHBEARER) from an OpenID provider, for a client id and secret; renewed before they expire."""

    model_config = ConfigDict(frozen=True)

    token_url: str
    client_id: str
    client_secret: SecretStr
    scope: str | None = None


class KafkaAccess(BaseModel):
    """Brokers, TLS and login; every Kafka client is made from one.

    ``str()`` gives the brokers without secrets, for the ``where`` of errors.

    Args:
        bootstrap: Brokers, ``host:port``, comma separated.
        tls: For encrypted connections (SSL, or SASL_SSL with a login).
        login: How to authenticate (SASL); None without authentication, or with a client certificate.
    """

    model_config = ConfigDict(frozen=True)

    bootstrap: str
    tls: Tls | None = None
    login: PasswordLogin | TokenLogin | None = None

    @property
    def security_protocol(self) -> str:
        """Kafka's ``security.protocol``: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        transport = "PLAINTEXT" if self.tls is None else "SSL"
        return transport if self.login is None else f"SASL_{transport}"

    def client(self) -> dict[str, str | int]:
        """Settings of a confluent-kafka client, including secrets; the caller adds further settings."""
        settings: dict[str, str | int] = {"bootstrap.servers": self.bootstrap}
        if self.tls is not None or self.login is not None:
            settings["security.protocol"] = self.security_protocol
        if self.tls is not None:
            files = {"ca": self.tls.ca_file, "certificate": self.tls.certificate_file, "key": self.tls.key_file}
            settings |= {f"ssl.{name}.location": str(path) for name, path in files.items() if path is not None}
        match self.login:
            case PasswordLogin() as login:
                settings |= {
                    "sasl.mechanism": login.mechanism,
                    "sasl.username": login.username,
                    "sasl.password": login.password.get_secret_value(),
                }
            case TokenLogin() as login:
                settings |= {
                    "sasl.mechanism": "OAUTHBEARER",
                    "sasl.oauthbearer.method": "oidc",
                    "sasl.oauthbearer.token.endpoint.url": login.token_url,
                    "sasl.oauthbearer.client.id": login.client_id,
                    "sasl.oauthbearer.client.secret": login.client_secret.get_secret_value(),
                }
                if login.scope is not None:
                    settings["sasl.oauthbearer.scope"] = login.scope
        return settings

    def java(self) -> dict[str, str]:
        """Settings of the Java clients in Flink's connector; TLS files as text, because the job runs on other machines.

        With a :class:`TokenLogin` Flink's JVMs must allow the provider's URL with the system property
        ``org.apache.flink.kafka.shaded.org.apache.kafka.sasl.oauthbearer.allowed.urls``.

        Raises:
            PenstockError: if a file cannot be read, or the key is not PKCS#8.
        """
        settings = {"bootstrap.servers": self.bootstrap, "security.protocol": self.security_protocol}
        if self.tls is not None:
            settings |= _java_tls(self.tls)
        match self.login:
            case PasswordLogin() as login:
                module = "plain.PlainLoginModule" if login.mechanism == "PLAIN" else "scram.ScramLoginModule"
                options = {"username": login.username, "password": login.password.get_secret_value()}
                settings |= {"sasl.mechanism": login.mechanism, "sasl.jaas.config": _jaas(module, options)}
            case TokenLogin() as login:
                options = {"clientId": login.client_id, "clientSecret": login.client_secret.get_secret_value()}
                if login.scope is not None:
                    options["scope"] = login.scope
                settings |= {
                    "sasl.mechanism": "OAUTHBEARER",
                    "sasl.oauthbearer.token.endpoint.url": login.token_url,
                    "sasl.login.callback.handler.class": f"{_JAVA}.oauthbearer.OAuthBearerLoginCallbackHandler",
                    "sasl.jaas.config": _jaas("oauthbearer.OAuthBearerLoginModule", options),
                }
        return settings

    def faust(self) -> dict[str, Any]:
        """The Kafka arguments of a ``faust.App``: ``faust.App(name, **access.faust(), ...)``.

        Raises:
            PenstockError: if a TLS file cannot be used.
        """
        # Imported here: it takes a second, and only the drift app needs it.
        import faust  # noqa: PLC0415

        from penstock.kafka.tokens import ClientCredentials  # noqa: PLC0415

        context = None if self.tls is None else self.tls.context()
        credentials: Any = None
        match self.login:
            case PasswordLogin() as login:
                credentials = faust.SASLCredentials(
                    username=login.username,
                    password=login.password.get_secret_value(),
                    mechanism=login.mechanism,
                    ssl_context=context,
                )
            case TokenLogin() as login:
                provider = ClientCredentials(
                    login.token_url, login.client_id, login.client_secret.get_secret_value(), login.scope
                )
                credentials = faust.OAuthCredentials(oauth_cb=provider, ssl_context=context)
            case None if context is not None:
                credentials = faust.SSLCredentials(context=context)
        brokers = ";".join(f"kafka://{broker.strip()}" for broker in self.bootstrap.split(","))
        return {"broker": brokers, "broker_credentials": credentials}

    def __str__(self) -> str:
        return self.bootstrap


def _java_tls(tls: Tls) -> dict[str, str]:
    settings: dict[str, str] = {}
    if tls.ca_file is not None:
        settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": pem(tls.ca_file)}
    if tls.certificate_file is not None and tls.key_file is not None:
        key = pem(tls.key_file)
        if "BEGIN PRIVATE KEY" not in key:
            raise PenstockError(
                "Java reads private keys as PKCS#8 only",
                where=str(tls.key_file),
                next=f"openssl pkcs8 -topk8 -nocrypt -in {tls.key_file} -out KEY, then use KEY as the key file",
            )
        settings |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": pem(tls.certificate_file),
            "ssl.keystore.key": key,
        }
    return settings


def _jaas(module: str, options: dict[str, str]) -> str:
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in options.items()}
    return f"{_JAVA}.{module} required " + " ".join(f'{name}="{value}"' for name, value in quoted.items()) + ";"
