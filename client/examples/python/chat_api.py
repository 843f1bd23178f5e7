#!/usr/bin/env python3
"""Two people talk through one node, in Python: the client API from sealing to delivered.

    target/python/bin/python client/examples/python/chat_api.py /var/lib/comm/api.sock
    target/python/bin/python client/examples/python/chat_api.py 127.0.0.1:7668 --token-file FILE

Ann and Bob are made up on the spot. Ann seals a text for Bob and submits it; Bob opens his mailbox,
opens the envelope and acknowledges it; Ann sees it delivered. No code of this project is used but
the .proto files, from which the stubs are made when the program starts; layouts are cited by their
section of PROTOCOL.md. There is no store, no prekey and no second try. Exit code 0 only if the
message was delivered.
"""

import argparse
import functools
import hashlib
import pathlib
import queue
import struct
import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from nacl.exceptions import CryptoError
from nacl.public import Box, SealedBox
from nacl.signing import SigningKey, VerifyKey
from nacl.utils import random

ROOT = pathlib.Path(__file__).resolve().parents[3]
# grpcio-tools compiles .proto files that lie under a directory of the module path.
sys.path.append(str(ROOT / "proto"))
objects = grpc.protos("comm/object/v1/object.proto")
client, services = grpc.protos_and_services("comm/client/v1/client.proto")

HOUR = 60 * 60 * 1000
DAY = 24 * HOUR
CLOCK_TOLERANCE = 3 * HOUR  # 2.1
BODY_SIZES = (1_024, 4_096, 16_384, 65_280)  # 3.2
OVERHEAD = 120  # what suite 1 adds to a padded payload (4.3)
SUITE, TEXT = 1, 1  # 4.2, 4.5
PATIENCE = 30  # seconds for any one call


class Refused(Exception):
    """An envelope is not what it should be."""


def now():
    """2.1"""
    return int(time.time() * 1000)


def address(public_key):
    """2.2"""
    return hashlib.sha1(b"comm/address/v1\0" + b"\1" + public_key).digest()


class Person:
    """An identity from a random seed, which may take the place of a secret (4.1)."""

    def __init__(self):
        self.signing = SigningKey.generate()
        self.key = self.signing.verify_key.encode()
        self.address = address(self.key)
        self.box_key = self.signing.to_curve25519_private_key()


# Sealing and opening (4.3, 4.4).

HEADER = struct.Struct(">BHQ32sQQ20sI")  # of a payload: 83 bytes


def payload(text, sequence, previous, expires_at, recipient):
    """4.4, padded to the smallest class that it fits"""
    unpadded = HEADER.pack(
        1, TEXT, sequence, previous, now(), expires_at, recipient, len(text)) + text
    fitting = [size - OVERHEAD for size in BODY_SIZES if len(unpadded) <= size - OVERHEAD]
    if not fitting:
        raise Refused(f"a text has at most {BODY_SIZES[-1] - OVERHEAD - HEADER.size} bytes")
    return unpadded.ljust(fitting[0], b"\0")


def x25519(ed25519_key):
    """4.1; libsodium refuses a key that is not of the prime-order subgroup."""
    return VerifyKey(ed25519_key).to_curve25519_public_key()


def seal(sender, recipient_key, text, time_to_live):
    """An envelope in the recipient's own mailbox, sealed to their identity key.

    A first message of somebody who found no card. With a card, its prekey takes the place of the
    identity key, and once the two have talked, a mailbox of the conversation (4.6) that of the
    address.
    """
    mailbox, to = address(recipient_key), x25519(recipient_key)
    expires_at = now() + time_to_live
    padded = payload(text, 1, bytes(32), expires_at, mailbox)
    # Box.encrypt puts the nonce in front, as the layout has it.
    inner = sender.key + Box(sender.box_key, to).encrypt(padded, random(24))
    return objects.Envelope(version=1, suite=SUITE, mailbox=mailbox, expires_at=expires_at,
                            body=SealedBox(to).encrypt(inner))


def open_sealed(recipient, envelope):
    """The sender's key and the text; the checks are in the order of 4.3."""
    if envelope.suite != SUITE or len(envelope.body) not in BODY_SIZES:
        raise Refused("sealed in a way that is not known")
    try:
        inner = SealedBox(recipient.box_key).decrypt(envelope.body)
    except CryptoError:
        raise Refused("not for us") from None
    sender = inner[:32]
    try:
        padded = Box(recipient.box_key, x25519(sender)).decrypt(inner[32:])
    except (CryptoError, RuntimeError):
        raise Refused("forged sender") from None
    version, content, sequence, _, _, expires_at, to, length = HEADER.unpack_from(padded)
    text, padding = padded[HEADER.size:][:length], padded[HEADER.size + length:]
    if version != 1 or sequence == 0 or len(text) < length or any(padding):
        raise Refused("no payload")
    if to != recipient.address:
        raise Refused("sealed for somebody else")
    if expires_at != envelope.expires_at or expires_at + CLOCK_TOLERANCE <= now():
        raise Refused("prolonged by a relay, or over")
    if content != TEXT:
        raise Refused("content that is not known")
    return sender, text


def envelope_id(envelope):
    """3.2"""
    header = struct.pack(">17sBB20sQI", b"comm/envelope/v1\0", envelope.version, envelope.suite,
                         envelope.mailbox, envelope.expires_at, len(envelope.body))
    return hashlib.sha256(header + envelope.body).digest()


# What the key of a mailbox signs; here always the identity key.


def grant(person, collector):
    """3.5: the node with this address may collect the person's own mailbox for two days."""
    not_after = now() + 2 * DAY
    signed = b"comm/grant/v1\0" + person.key + collector + struct.pack(">Q", not_after)
    return objects.Grant(mailbox_key=person.key, collector=collector, not_after=not_after,
                         signature=person.signing.sign(signed).signature)


def acknowledgement(person, envelope):
    """3.3: the envelope has been read and may end everywhere."""
    expires_at, ids = envelope.expires_at + DAY, [envelope_id(envelope)]
    signed = (b"comm/acknowledgement/v1\0" + person.key + struct.pack(">QB", expires_at, len(ids))
              + b"".join(ids))
    return objects.Acknowledgement(ids=ids, mailbox_key=person.key, expires_at=expires_at,
                                   signature=person.signing.sign(signed).signature)


class Node:
    """The client API of one node (8), with a deadline on every call that has an end."""

    def __init__(self, where, token):
        target = where if token else f"unix:{pathlib.Path(where).absolute()}"
        # Unless told, grpcio names the socket's path as the host, which is no valid name of one.
        self.channel = grpc.insecure_channel(target, [("grpc.default_authority", "localhost")])
        self.stub = services.ClientStub(self.channel)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    def call(self, method, request):
        return method(request, timeout=PATIENCE, metadata=self.metadata)

    def receive(self, person):
        """The person's envelopes: what waits, then what arrives; one is on its way at a time."""
        status = self.call(self.stub.GetStatus, client.GetStatusRequest())
        # The entries collect from the region on the node's behalf (6.8), so each has a grant too.
        collectors = [status.node, *status.entries]
        requests = queue.SimpleQueue()
        requests.put(client.ReceiveRequest(open=client.Open(
            grants=[grant(person, collector) for collector in collectors], credit=1)))
        # Without a deadline the stream would go on for ever, which is what a real program wants.
        responses = self.stub.Receive(iter(requests.get, None), timeout=PATIENCE,
                                      metadata=self.metadata)
        try:
            for response in responses:
                if response.HasField("envelope"):
                    yield response.envelope.envelope
                    requests.put(client.ReceiveRequest(credit=client.Credit(envelopes=1)))
        finally:
            requests.put(None)
            responses.cancel()

    def watch(self, envelope):
        """The states of an envelope, now and as they change (6.1), until it has come to an end."""
        responses = self.call(self.stub.Watch, client.WatchRequest(ids=[envelope]))
        for response in responses:
            state = response.state.WhichOneof("state")
            yield state
            if state in ("delivered", "expired", "cancelled"):
                responses.cancel()
                return


class Reflection:
    """What grpcio-reflection asks through: by itself it knows no token."""

    def __init__(self, node):
        self.node = node

    def stream_stream(self, path, **options):
        call = self.node.channel.stream_stream(path, **options)
        return functools.partial(call, timeout=PATIENCE, metadata=self.node.metadata)


def without_files(node):
    """What a program learns that has no .proto file: services, calls, and whether all is well."""
    database = ProtoReflectionDescriptorDatabase(Reflection(node))
    pool = descriptor_pool.DescriptorPool(database)
    calls = pool.FindServiceByName("comm.client.v1.Client").methods
    check = pool.FindServiceByName("grpc.health.v1.Health").FindMethodByName("Check")
    asked, answered = map(message_factory.GetMessageClass, (check.input_type, check.output_type))
    health = node.channel.unary_unary(f"/{check.containing_service.full_name}/{check.name}",
                                      asked.SerializeToString, answered.FromString)
    statuses = answered.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number
    status = node.call(health, asked(service="comm.client.v1.Client")).status
    return database.get_services(), [call.name for call in calls], statuses[status].name


def talk(node, text):
    """One message from Ann to Bob, and its end."""
    status = node.call(node.stub.GetStatus, client.GetStatusRequest())
    print(f"node {status.node.hex()}, version {status.version}, {status.peers} peers")
    found, calls, health = without_files(node)
    print(f"services: {', '.join(sorted(found))}")
    print(f"calls of the client API: {', '.join(calls)}")
    print(f"health: {health}")

    ann, bob = Person(), Person()
    print(f"ann is {ann.address.hex()}\nbob is {bob.address.hex()}")
    found = node.call(node.stub.FindCard, client.FindCardRequest(owner=bob.address))
    print(f"bob's card: {'found' if found.HasField('card') else 'none, so his identity key it is'}")
    envelope = seal(ann, bob.key, text.encode(), 14 * DAY)
    submitted = node.call(node.stub.Submit, client.SubmitRequest(envelope=envelope))
    if submitted.id != envelope_id(envelope):
        raise Refused("the node computes another id")
    print(f"submitted {submitted.id.hex()}: {submitted.state.WhichOneof('state')}")

    # The states are watched while Bob reads, so that their change is seen and not only their end.
    states = node.watch(submitted.id)
    print(f"state: {next(states)}")
    received = next(node.receive(bob))
    sender, read = open_sealed(bob, received)
    print(f"bob reads, from {address(sender).hex()}: {read.decode()}")
    if (sender, read) != (ann.key, text.encode()):
        raise Refused("not what Ann wrote")
    # A real program has it on its own disk before it acknowledges (1).
    node.call(node.stub.Acknowledge,
              client.AcknowledgeRequest(acknowledgements=[acknowledgement(bob, received)]))
    for state in states:
        print(f"state: {state}")
    return state == "delivered"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("node", help="path of the node's api.sock, or HOST:PORT with --token-file")
    parser.add_argument("--token-file", type=pathlib.Path, help="the node's api.token")
    parser.add_argument("--text", default="Are you there? 🦊", help="what Ann writes")
    options = parser.parse_args()
    token = options.token_file.read_text(encoding="ascii").strip() if options.token_file else None
    try:
        return 0 if talk(Node(options.node, token), options.text) else 1
    except Refused as refused:
        print(f"chat_api: {refused}", file=sys.stderr)
    except grpc.RpcError as error:
        # What a program goes by is in the trailers (8); the details are for people.
        words = {name: word for name, word in error.trailing_metadata() or ()}
        print(f"chat_api: {error.code().name}: {error.details()} "
              f"(comm-code: {words.get('comm-code')}, comm-retry: {words.get('comm-retry')})",
              file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
