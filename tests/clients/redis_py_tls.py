"""redis-py, unmodified, over TLS: REDIS_TLS_PORT, and a folder of certificates in TLS_DIR."""

import os

import redis

folder = os.environ["TLS_DIR"]
port = int(os.environ["REDIS_TLS_PORT"])
shown = {"ssl_certfile": f"{folder}/client.crt", "ssl_keyfile": f"{folder}/client.key"}

for protocol in (2, 3):
    for certificate in ({}, shown):
        client = redis.Redis(
            "localhost", port, ssl=True, ssl_ca_certs=f"{folder}/ca.crt", protocol=protocol,
            **certificate,
        )
        assert client.ping()
        value = os.urandom(3_000_000)
        assert client.set("k", value) and client.get("k") == value
        with client.pipeline(transaction=False) as pipeline:
            for number in range(5000):
                pipeline.echo(str(number) * 20)
            assert pipeline.execute() == [(str(number) * 20).encode() for number in range(5000)]
        with client.pubsub() as subscriber:
            subscriber.subscribe("channel")
            assert subscriber.get_message(timeout=10)["type"] == "subscribe"
            client.publish("channel", "m")
            assert subscriber.get_message(timeout=10)["data"] == b"m"

client.config_set("tls-auth-clients", "yes")
stranger = redis.Redis("localhost", port, ssl=True, ssl_ca_certs=f"{folder}/ca.crt")
try:
    stranger.ping()
    raise AssertionError("a client without a certificate was let in")
except redis.ConnectionError:
    pass
assert client.ping()
print("redis-py over TLS: ok")
