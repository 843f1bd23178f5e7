#!/usr/bin/env python3
"""Computes every test vector again, from PROTOCOL.md and PyNaCl alone.

None of the project's own code is used. Whoever implements the protocol in another language can
read this as the shortest complete description of its byte layouts.

    target/python/bin/python client/examples/python/check_vectors.py [DIRECTORY]

DIRECTORY is proto/testdata/vectors unless told otherwise. Exit code 0 only if all agree.
"""

import hashlib
import hmac
import json
import pathlib
import struct
import sys

from nacl import bindings, pwhash
from nacl.public import Box, PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey, VerifyKey

ROOT = pathlib.Path(__file__).resolve().parents[3]
DAY = 24 * 60 * 60 * 1000
EPOCH = 7 * DAY
TTL_MAX = 30 * DAY
CLOCK_TOLERANCE = 3 * 60 * 60 * 1000
# Bytes that suite 1 adds to a padded payload.
OVERHEAD = 120


class Disagreement(Exception):
    """A value is not the recorded one."""


def same(what, computed, recorded):
    if computed != recorded:
        raise Disagreement(f"{what}: computed {computed!r}, recorded {recorded!r}")


# Numbers of all layouts are big-endian (2.3).


def u8(number):
    return struct.pack(">B", number)


def u16(number):
    return struct.pack(">H", number)


def u32(number):
    return struct.pack(">I", number)


def u64(number):
    return struct.pack(">Q", number)


def hkdf(secret, info, length):
    """HKDF-SHA256 (RFC 5869) without salt; one block is all that is ever asked for."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")[:length]


def address(public_key):
    """2.2"""
    return hashlib.sha1(b"comm/address/v1\0" + u8(1) + public_key).digest()


def public_key(seed):
    return SigningKey(seed).verify_key.encode()


def from_hex(case):
    """The case with its hexadecimal fields as bytes; these are all fields that are texts."""
    def read(value):
        if isinstance(value, str):
            return bytes.fromhex(value)
        if isinstance(value, list):
            return [read(item) for item in value]
        if isinstance(value, dict):
            return {name: read(item) for name, item in value.items()}
        return value
    return read(case)


def check_address(case):
    v = from_hex(case)
    same("public key", public_key(v["seed"]), v["public_key"])
    same("address", address(v["public_key"]), v["address"])


def check_identity(case):
    """4.1"""
    v = from_hex(case)
    seed = pwhash.argon2id.kdf(
        32, v["secret"], b"comm/identity/v1", opslimit=3, memlimit=256 << 20)
    same("seed", seed, v["seed"])
    same("public key", public_key(seed), v["public_key"])
    same("address", address(v["public_key"]), v["address"])
    same("storage key", hkdf(seed, b"comm/storage/v1", 32), v["storage_key"])


def check_safety_number(case):
    """4.1"""
    low, high = sorted([bytes.fromhex(case["ours"]), bytes.fromhex(case["theirs"])])
    digest = hashlib.sha512(b"comm/safety/v1\0" + low + high).digest()
    groups = [int.from_bytes(digest[at:at + 5], "big") % 100_000 for at in range(0, 60, 5)]
    same("safety number", " ".join(f"{group:05}" for group in groups), case["safety_number"])


def envelope_id(suite, mailbox, expires_at, body):
    """3.2"""
    header = u8(1) + u8(suite) + mailbox + u64(expires_at) + u32(len(body))
    return hashlib.sha256(b"comm/envelope/v1\0" + header + body).digest()


def check_envelope(case):
    v = from_hex(case)
    body = bytes(at % 256 for at in range(v["body_length"]))
    same("version", v["version"], 1)
    same("id", envelope_id(v["suite"], v["mailbox"], v["expires_at"], body), v["id"])


def check_signature(seed, key, signed, v):
    same("key", public_key(seed), key)
    same("signed bytes", signed, v["signed_bytes"])
    same("signature", SigningKey(seed).sign(signed).signature, v["signature"])
    VerifyKey(key).verify(signed, v["signature"])


def check_acknowledgement(case):
    """3.3"""
    v = from_hex(case)
    signed = (b"comm/acknowledgement/v1\0" + v["mailbox_key"] + u64(v["expires_at"])
              + u8(len(v["ids"])) + b"".join(v["ids"]))
    check_signature(v["mailbox_seed"], v["mailbox_key"], signed, v)
    same("mailbox", address(v["mailbox_key"]), v["mailbox"])


def check_receipt(case):
    """3.4"""
    v = from_hex(case)
    signed = (b"comm/receipt/v1\0" + v["holder_key"] + u64(v["at"])
              + u8(len(v["ids"])) + b"".join(v["ids"]))
    check_signature(v["holder_seed"], v["holder_key"], signed, v)


def check_grant(case):
    """3.5"""
    v = from_hex(case)
    signed = b"comm/grant/v1\0" + v["mailbox_key"] + v["collector"] + u64(v["not_after"])
    check_signature(v["mailbox_seed"], v["mailbox_key"], signed, v)


def check_card(case):
    """3.6"""
    v = from_hex(case)
    signed = (b"comm/card/v1\0" + public_key(v["owner_seed"])
              + u64(v["issued_at"]) + u64(v["expires_at"])
              + u64(v["ttl_max"]) + u32(v["size_max"]) + u8(v["stamp_min"])
              + u8(len(v["prekeys"])))
    for prekey in v["prekeys"]:
        public = prekey["public"]
        signed += u8(prekey["suite"]) + u32(len(public)) + public + u64(prekey["not_after"])
    same("card", signed + SigningKey(v["owner_seed"]).sign(signed).signature, v["card"])


def room_heads(v):
    return u8(len(v["heads"])) + b"".join(v["heads"])


def room_event_end(v):
    """What the kind says (4.12)."""
    kind = v["kind"]
    if kind == 1:
        return v["token"] + u64(v["expires_at"])
    if kind == 2:
        return v["token"]
    if kind == 3:
        return v["join"]
    if kind == 5:
        return v["member"]
    if kind == 6:
        return v["member"] + u8(v["role"])
    if kind == 7:
        return u32(len(v["name"])) + v["name"]
    if kind == 8:
        return u8(v["policy"])
    return b""


def check_room_event(v):
    """4.12"""
    signed = (b"comm/room-event/v1\0" + u8(v["kind"]) + public_key(v["author_seed"])
              + u64(v["made_at"]))
    if v["kind"] == 0:
        signed += v["nonce"] + u32(len(v["name"])) + v["name"]
    else:
        signed += v["room"] + v["previous"] + room_heads(v) + room_event_end(v)
    same("id", hashlib.sha256(signed).digest(), v["id"])
    same("event", signed + SigningKey(v["author_seed"]).sign(signed).signature, v["event"])


def check_room_join(v):
    """4.14"""
    text = (v["room"] + public_key(v["inviter_seed"]) + u64(v["expires_at"]) + v["token_seed"]
            + u8(len(v["others"])) + b"".join(v["others"]))
    checksum = hashlib.sha256(b"comm/room-invitation/v1\0" + text).digest()[:4]
    same("invitation", text + checksum, v["invitation"])
    said = public_key(v["token_seed"]) + public_key(v["joiner_seed"]) + v["fresh"]
    signed = b"comm/room-join/v1\0" + v["room"] + said
    signatures = [SigningKey(v[seed]).sign(signed).signature
                  for seed in ("token_seed", "joiner_seed")]
    same("join", said + b"".join(signatures), v["join"])


def check_room_said(v):
    """4.16"""
    said = (v["room"] + u64(v["sequence"]) + v["previous"] + room_heads(v)
            + u16(v["content_type"]) + v["body"])
    digest = hashlib.sha256(b"comm/room-message/v1\0" + v["author_key"] + said).digest()
    same("message id", digest, v["message_id"])
    same("note", u8(1) + u64(v["first"]) + said, v["note"])


def check_room(case):
    """4.12, 4.14 and 4.16"""
    v = from_hex(case)
    if "event" in v:
        check_room_event(v)
    elif "invitation" in v:
        check_room_join(v)
    else:
        check_room_said(v)


def check_prekey(case):
    """3.6"""
    v = from_hex(case)
    same("public key", PrivateKey(v["secret"]).public_key.encode(), v["public"])
    same("offered until", v["created_at"] + 2 * 7 * DAY, v["not_after"])
    same("kept until", v["not_after"] + TTL_MAX + CLOCK_TOLERANCE, v["destroy_after"])


def payload(v):
    """4.4, without padding"""
    return (u8(1) + u16(v["content_type"]) + u64(v["sequence"]) + v["previous"]
            + u64(v["sent_at"]) + u64(v["expires_at"]) + v["recipient"]
            + u32(len(v["text"])) + v["text"])


def message_id(sender, unpadded):
    """4.4"""
    return hashlib.sha256(b"comm/message/v1\0" + sender + unpadded).digest()


def check_payload(case):
    v = from_hex(case)
    same("payload", payload(v), v["payload"])
    same("padded length", v["body_length"] - OVERHEAD, v["padded_length"])
    same("message id", message_id(v["sender"], v["payload"]), v["message_id"])


def check_sealed(case):
    """4.3: opens the envelope as its recipient does."""
    v = from_hex(case)
    same("id", envelope_id(v["suite"], v["mailbox"], v["envelope_expires_at"], v["body"]), v["id"])
    identity = SigningKey(v["recipient_seed"]).to_curve25519_private_key()
    key = PrivateKey(v["prekey_secret"]) if v["prekey_secret"] else identity
    inner = SealedBox(key).decrypt(v["body"])
    sender, nonce, box = inner[:32], inner[32:56], inner[56:]
    same("sender", sender, v["sender"])
    padded = Box(key, VerifyKey(sender).to_curve25519_public_key()).decrypt(box, nonce)
    unpadded = payload(v)
    same("padded payload", padded, unpadded.ljust(len(v["body"]) - OVERHEAD, b"\0"))
    same("message id", message_id(sender, unpadded), v["message_id"])
    same("recipient", address(public_key(v["recipient_seed"])), v["recipient"])
    same("expiry", v["envelope_expires_at"], v["expires_at"])


def check_conversation(case):
    """4.6"""
    v = from_hex(case)
    secret = SigningKey(v["from_seed"]).to_curve25519_private_key()
    other = VerifyKey(v["to_key"]).to_curve25519_public_key()
    shared = bindings.crypto_scalarmult(secret.encode(), other.encode())
    here, there = address(public_key(v["from_seed"])), address(v["to_key"])
    same("addresses", [here, there], [v["from"], v["to"]])
    low, high = sorted([here, there])
    phase = int.from_bytes(hkdf(shared, b"comm/epoch-phase/v1" + low + high, 8), "big") % EPOCH
    same("phase", phase, v["phase_ms"])

    def epoch_at(time):
        return (time + phase) // EPOCH
    same("epoch", epoch_at(v["now"]), v["epoch_now"])
    first = epoch_at(v["now"] - TTL_MAX - CLOCK_TOLERANCE)
    same("epochs", [first, epoch_at(v["now"] + CLOCK_TOLERANCE)], v["epochs_listened"])
    seed = hkdf(shared, b"comm/conversation/v1" + here + there + u64(v["epoch"]), 32)
    same("seed of the mailbox", seed, v["mailbox_seed"])
    same("key of the mailbox", public_key(seed), v["mailbox_key"])
    same("mailbox", address(v["mailbox_key"]), v["mailbox"])


def siphash13(key, data):
    """SipHash-1-3: one round a word, three at the end; words are little-endian."""
    mask = (1 << 64) - 1

    def rotate(word, by):
        return (word << by | word >> (64 - by)) & mask

    def sip_round(a, b, c, d):
        a = (a + b) & mask
        b = rotate(b, 13) ^ a
        a = rotate(a, 32)
        c = (c + d) & mask
        d = rotate(d, 16) ^ c
        a = (a + d) & mask
        d = rotate(d, 21) ^ a
        c = (c + b) & mask
        b = rotate(b, 17) ^ c
        return a, b, rotate(c, 32), d

    k0, k1 = struct.unpack("<QQ", key)
    state = (k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d,
             k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573)
    whole = len(data) // 8 * 8
    last = int.from_bytes(data[whole:], "little") | (len(data) % 256) << 56
    for word in [*struct.unpack(f"<{whole // 8}Q", data[:whole]), last]:
        a, b, c, d = state
        a, b, c, d = sip_round(a, b, c, d ^ word)
        state = (a ^ word, b, c, d)
    a, b, c, d = state
    state = (a, b, c ^ 0xff, d)
    for _ in range(3):
        state = sip_round(*state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def digest_bits(seed, hashes, bits, envelope):
    """6.4: the places of one id in a digest."""
    mask = (1 << 64) - 1
    first, second = siphash13(seed[:16], envelope), siphash13(seed[16:], envelope)
    numbers = [first, second]
    numbers += [(first + at * second & mask) % 0xffffffffffffffc5 for at in range(2, hashes)]
    return [number % bits for number in numbers[:hashes]]


def check_digest(case):
    """6.4. The number of hash functions is the sender's choice, so it is read, not computed."""
    v = from_hex(case)
    recorded = v["digest"]
    length = (max(len(v["ids"]), 1) * 10 + 7) // 8
    hashes = struct.unpack("<I", recorded[9:13])[0]
    bits = bytearray(length)
    for envelope in v["ids"]:
        for place in digest_bits(v["seed"], hashes, length * 8, envelope):
            bits[place // 8] |= 1 << place % 8
    header = u8(1) + struct.pack("<QI", length, hashes) + v["seed"]
    same("digest", header + bytes(bits), recorded)

    def may_contain(envelope):
        places = digest_bits(v["seed"], hashes, length * 8, envelope)
        return all(bits[place // 8] >> place % 8 & 1 for place in places)
    others = [bytes([fill]) * 32 for fill in range(256)]
    others = [other for other in others if other not in v["ids"] and may_contain(other)]
    same("false positives", others, v["false_positives"])


def check_network_size(case):
    """5.5"""
    samples = [[int(top, 16) for top in sample] for sample in case["samples"]]
    counts = sorted(
        ((3 * len(sample) - 1) << 64) // (3 * (max(sample) + 1)) for sample in samples)
    middle = [counts[(len(counts) - 1) // 2], counts[len(counts) // 2]] if counts else [1, 1]
    estimate = max(sum(middle) // 2, 1)
    same("estimate", estimate, case["estimate"])
    radius = min((case["region_nodes"] << 64) // estimate, (1 << 64) - 1)
    same("radius", f"{radius:016x}", case["radius"])


CHECKS = {
    "acknowledgement": check_acknowledgement,
    "address": check_address,
    "card": check_card,
    "conversation": check_conversation,
    "digest": check_digest,
    "envelope": check_envelope,
    "grant": check_grant,
    "identity": check_identity,
    "network-size": check_network_size,
    "payload": check_payload,
    "prekey": check_prekey,
    "receipt": check_receipt,
    "room": check_room,
    "safety-number": check_safety_number,
    "sealed": check_sealed,
}


def main(directory):
    files = sorted(directory.glob("*.json"))
    missing = CHECKS.keys() - {file.stem for file in files}
    wrong = [f"{name}.json is missing" for name in sorted(missing)]
    for file in files:
        cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
        try:
            if not cases:
                raise Disagreement("there are no cases")
            for case in cases:
                CHECKS[file.stem](case)
            print(f"{file.name}: {len(cases)} agree")
        except Exception as error:  # A wrong vector can fail in the libraries too.
            wrong.append(f"{file.name}: {type(error).__name__}: {error}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else ROOT / "proto/testdata/vectors"))
